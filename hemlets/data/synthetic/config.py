"""Settings of the open data: how many people, how varied, how large."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from hemlets.core.config import Config
from hemlets.data.table import BACKGROUND_SPLITS

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the lower end comes first")
    return pair


Range = AfterValidator(_rising)
Quality = Annotated[int, Field(ge=1, le=100)]
Metres = Annotated[float, Field(gt=0.5, le=100.0)]
Degrees = Annotated[float, Field(ge=-90.0, le=90.0)]
Fraction = Annotated[float, Field(ge=0.3, le=1.0)]


class SplitSizes(Config):
    """Images of each split."""

    train: Count = 20_000
    validation: Count = 1_000
    gate: Count = 1_000
    test: Count = 2_000

    def of(self, split: str) -> int:
        """Images of the split of that name."""
        return int(getattr(self, split))


class OpenDataConfig(Config):
    """Configuration of a rendering. Equal ones give the same bytes on one machine."""

    seed: Count = 0
    first: Count = 0
    """Index of the first training image; overlapping ranges share images."""
    samples: SplitSizes = SplitSizes()
    background_share: Probability = 0.03
    """Number of scenes without a person, relative to the people of training, validation and test.
    They train the presence confidence.
    """
    image_px: Annotated[int, Field(ge=64, le=1024)] = 160
    """Side of the square image."""
    shard_size: Annotated[int, Field(ge=1)] = 512
    """Images per shard: the unit of resuming."""
    supersampling: Annotated[int, Field(ge=1, le=4)] = 2
    """Factor of the person's supersampling."""
    jpeg_quality: Annotated[tuple[Quality, Quality], Range] = (70, 95)
    """Range of the JPEG quality."""

    mixture_probability: Probability = 0.4
    """Probability that a limb group is taken from another clip of the same split."""
    free_limb_probability: Probability = 0.2
    """Probability that an arm or leg of a training pose is drawn from its whole anatomical range.
    Other splits only have captured motion and its mixtures: they measure errors on real motion.
    """
    tumble_probability: Probability = 0.05
    """Probability of a random orientation of the body: lying, upside down."""
    pose_noise: Annotated[float, Field(ge=0.0, le=3.0)] = 1.0
    """Factor on the anatomical noise of every joint."""
    shape_std: Annotated[float, Field(ge=0.0, le=3.0)] = 0.9

    distance_m: Annotated[tuple[Metres, Metres], Range] = (2.5, 7.0)
    elevation_deg: Annotated[tuple[Degrees, Degrees], Range] = (-20.0, 45.0)
    roll_std_deg: Annotated[float, Field(ge=0.0, le=45.0)] = 4.0
    box_fraction: Annotated[tuple[Fraction, Fraction], Range] = (0.55, 0.85)
    """Longer side of the box of an untruncated person over the image's side."""
    truncation_probability: Probability = 0.15
    """Probability of a zoomed and shifted view that truncates the person."""
    occluder_probability: Probability = 0.35
    """Probability of objects in front of the person."""
    clutter_probability: Probability = 0.6
    """Probability of objects behind the person."""

    def count(self, split: str) -> int:
        """Images of a split, of people or of scenes without one."""
        if split in BACKGROUND_SPLITS:
            people = self.samples.of(split.removesuffix("-background"))
            return round(self.background_share * people)
        return self.samples.of(split)

    def start(self, split: str) -> int:
        """Index of a split's first image."""
        people = self.first if split.startswith("train") else 0
        return round(self.background_share * people) if split in BACKGROUND_SPLITS else people
