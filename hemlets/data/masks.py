"""Masks of people: part labels, a silhouette, or a rendering of the body on white.

A label mask holds 0 for the background, 1-6 for the parts (at least two of them), and 255 for
ignored pixels. A silhouette holds 0 and 255.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hemlets.core.arrays import Array, Image

PERSON: Final = 255
"""The person's pixels in a silhouette; ignored pixels in a label mask."""

_PARTS: Final = 6


def has_parts(mask_HW: Array) -> bool:
    """Return whether a mask holds part labels instead of a silhouette."""
    values = np.setdiff1d(mask_HW, [PERSON])
    return bool(values.max(initial=0) <= _PARTS and (values > 0).sum() > 1)


def as_mask(image: Array) -> Image:
    """Convert a picture (H, W) or (H, W, C) to a mask (H, W).

    A grey picture of part labels is a label mask. Any other one with four white corners is a body
    rendered on white, like UP-3D's ``*_render_light.png``: every other colour is the person. The
    rest are silhouettes on black.
    """
    pixels = np.asarray(image, np.uint8).reshape(*image.shape[:2], -1)[..., :3]
    first = pixels[..., 0]
    if (pixels == first[..., None]).all() and has_parts(first):
        return np.ascontiguousarray(first)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    person = (pixels < 255).any(-1) if (corners == 255).all() else pixels.any(-1)
    return np.where(person, np.uint8(PERSON), np.uint8(0))
