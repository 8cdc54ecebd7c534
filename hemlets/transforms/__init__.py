"""From a stored image and its annotation to a crop, and back from crop to image."""

from hemlets.transforms.augment import Augmentation, AugmentationConfig, draw_augmentation
from hemlets.transforms.crop import Crop, square_crop

__all__ = [
    "Augmentation",
    "AugmentationConfig",
    "Crop",
    "draw_augmentation",
    "square_crop",
]
