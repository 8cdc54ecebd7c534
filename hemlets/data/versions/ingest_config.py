"""Settings of ingest: how people are cut out of their images, and which rows go where."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hemlets.core.config import Config

Share = Annotated[float, Field(ge=0.0, le=0.5)]


class SplitCut(Config):
    """What is cut from the training rows, by clip, where a dataset has no such split.

    Attributes:
        validation: Share of the clips that become the validation split.
        gate: Share of the clips that become the gate split, which promotion is decided on.
        seed: Another one cuts other clips.
    """

    validation: Share = 0.05
    gate: Share = 0.05
    seed: Annotated[int, Field(ge=0)] = 0


class IngestConfig(Config):
    """How a dataset becomes a data version.

    Attributes:
        images: ``store`` writes a crop a row; ``none`` keeps the rows alone, e.g. to look at
            the annotations of a dataset whose images are still on their way.
        crop_px: Side, in stored pixels, of the square that training cuts out of an image when
            nothing is turned or scaled. Smaller people are stored as they are, not enlarged.
        margin: Side of the stored window over the longer side of the person's box. 2.35 keeps
            what training shows inside: a context of 1.2, a scale of 0.75, a turn of 30° (which
            widens a square 1.37 times) and a shift of 5 %.
        jpeg_quality: Of the stored images.
        shard_size: Images in a shard: the unit of resuming.
        cut: Validation and gate rows, where the dataset has none.
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
