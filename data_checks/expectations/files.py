"""Expectations of image shards, the images in them and masks."""

from __future__ import annotations

from typing import Final

from data_checks.check import Check, at_most, within

FILES: Final[tuple[Check, ...]] = (
    at_most(
        "shard_readable", "shard", 0,
        "The row's image shard exists, can be read and has the stated row.",
        "Training would stop in the middle of an epoch.",
    ),
    at_most(
        "shard_holds_sample", "shard_row", 0,
        "The shard's row holds the image of this sample id.",
        "People would be trained on other people's labels.",
    ),
    at_most(
        "image_hash_matches", "image_hash", 0,
        "The stored bytes have the stated SHA-256.",
        "The image was changed or damaged after it was annotated.",
    ),
    at_most(
        "image_decodes", "image_hash", 0,
        "The image can be decoded (all rows of a small table, a sample of a large one).",
        "Training would stop in the middle of an epoch.",
    ),
    at_most(
        "image_size_matches", "image_width, image_height", 0,
        "The image has the stated width and height.",
        "Boxes, joints and camera would belong to another scale of the image.",
    ),
    at_most(
        "mask_decodes", "mask", 0,
        "Where there is a mask, it is a PNG of the image's size.",
        "Segmentation metrics would compare different pixels.",
    ),
    within(
        "joints_on_mask", "mask", 0.7, None,
        "At least 70 % of the visible joints lie on the mask, give or take 3 % of the box.",
        "Image and labels are mirrored, shifted or of another person.",
    ),
)  # fmt: skip
