"""Settings of ingest: crops and splits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hemlets.core.config import Config

Share = Annotated[float, Field(ge=0.0, le=0.5)]


class SplitCut(Config):
    """Splits that are cut from the training rows by clip, if a dataset has none.

    Attributes:
        validation: Share of the clips in the validation split.
        gate: Share of the clips in the gate split, for promotion decisions.
        seed: Selects the clips.
    """

    validation: Share = 0.05
    gate: Share = 0.05
    seed: Annotated[int, Field(ge=0)] = 0


class IngestConfig(Config):
    """Conversion of a dataset to a data version.

    Attributes:
        images: ``store`` writes a crop for each row; ``none`` stores rows only, e.g. to inspect
            annotations before the images are downloaded.
        crop_px: Side, in stored pixels, of training's square crop without augmentation. Smaller
            people are not enlarged.
        margin: Side of the stored window over the longer side of the person's box. 2.35 holds
            every augmented crop of training: a context of 1.2, a scale of 0.75, a rotation of 30°
            (which widens a square 1.37 times) and a shift of 5 %.
        jpeg_quality: Quality of the stored images.
        shard_size: Images per shard: the unit of resuming.
        cut: Shares of validation and gate clips, if the dataset has no such splits.
    """

    images: Literal["store", "none"] = "store"
    crop_px: Annotated[int, Field(ge=32, le=512)] = 256
    margin: Annotated[float, Field(ge=1.0, le=4.0)] = 2.35
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 92
    shard_size: Annotated[int, Field(ge=1, le=16_384)] = 512
    cut: SplitCut = SplitCut()

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.cut.validation + self.cut.gate > 0.8:
            raise ValueError("validation and gate together leave too little to train on")
        return self
