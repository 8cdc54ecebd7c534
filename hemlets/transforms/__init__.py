"""From a stored image and its annotation to a crop, and back from crop to image."""

from hemlets.transforms.augment import Augmentation, AugmentationConfig, draw_augmentation
from hemlets.transforms.crop import Crop, square_crop
from hemlets.transforms.pixels import normalise

__all__ = [
    "Augmentation",
    "AugmentationConfig",
    "Crop",
    "draw_augmentation",
    "normalise",
    "square_crop",
]
