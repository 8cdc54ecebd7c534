"""Convert a stored image and its annotation to a crop, and crop coordinates back."""

from hemlets.data.transforms.augment import Augmentation, AugmentationConfig, draw_augmentation
from hemlets.data.transforms.crop import Crop, square_crop
from hemlets.data.transforms.pixels import normalise

__all__ = [
    "Augmentation",
    "AugmentationConfig",
    "Crop",
    "draw_augmentation",
    "normalise",
    "square_crop",
]
