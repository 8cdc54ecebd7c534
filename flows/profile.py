"""Profiles: typed settings of a retraining in one file."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from flows.registry.rules import Judge, PromotionRules
from flows.settings import BenchmarkConfig, CanaryConfig, DriftSettings, StepTimeouts
from flows.sources import Source
from hemlets.core.config import Config, read_toml, set_overrides
from hemlets.core.errors import ConfigError
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.stream import StreamSettings
from hemlets.data.transforms import AugmentationConfig
from hemlets.models import PoseNetworkConfig, ShapeNetworkConfig
from hemlets.models.model_folder import InferenceConfig
from hemlets.training.config import LossConfig, TrainingConfig

FLOOR_METRICS: Final = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "rigid_mpjpe_mm",
    "pck3d_150mm_pct",
    "auc3d_150mm_pct",
    "root_mm",
    "joints2d_px",
    "theta_deg",
    "per_vertex_mm",
    "mesh_joints_mm",
    "mpjpe_over_mean_pose",
    "mpjpe_over_linear_lifter",
)
"""Metrics with floors: means of the gate split and ratios to the baselines."""


class Profile(Config):
    """Settings of a retraining, from data to promotion.

    Attributes:
        start: Weights that the pose stage starts from: the bundled starter weights, or random
            ones.
        render_workers: Worker processes that render, in ingest and for a stream; they change no
            byte of what comes out.
        processes: Training processes on this machine; ``torchrun`` starts more than one.
        datasets: Ingested datasets of the workspace whose training rows are used in addition to
            the rendered people.
        sources: Places that are looked at for new data first; each is a dataset, too.
        judges: The user's own gate and test rows, which are never trained on.
        overlay: Suite file that adds, changes or switches off expectations about the data.
        stream: Where given, both training stages are shown people rendered while they train, as
            ``data`` says, instead of the training rows. Those still give the scale of the body,
            what the baselines learn from and the shape network's warm-up: some thousands do.
        fresh_share: Share of the rendered training people that the next number of a retraining
            replaces by new ones.
        drift: Comparison of what the endpoint saw with the champion's benchmark; none if omitted.
        min_body_share: Least share of the training people whose θ and β are known; see
            `flows.steps.label_coverage`. Datasets of joints know none, and with fewer bodies than
            some in a batch the PoSh stage would train the pose network on and hardly see a body.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    start: Literal["starter", "random"]
    render_workers: int = Field(2, ge=1)
    processes: int = Field(1, ge=1)
    datasets: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    judges: tuple[Judge, ...] = ()
    overlay: Path | None = Field(None, strict=False)
    fresh_share: float = Field(0.25, ge=0, le=1)
    min_body_share: float = Field(0.05, ge=0, le=1)
    data: OpenDataConfig
    stream: StreamSettings | None = None
    pose: PoseNetworkConfig = PoseNetworkConfig()
    shape: ShapeNetworkConfig = ShapeNetworkConfig()
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    inference: InferenceConfig = InferenceConfig()
    train_pose: TrainingConfig
    train_posh: TrainingConfig
    benchmark: BenchmarkConfig = BenchmarkConfig()
    canary: CanaryConfig = CanaryConfig()
    promotion: PromotionRules
    timeouts_h: StepTimeouts = StepTimeouts()
    drift: DriftSettings | None = None

    def numbered(self, number: int) -> Profile:
        """Profile of a numbered retraining, with its own training people.

        The same number gives the same people. Validation, gate and test people never change.
        """
        step = round(self.fresh_share * self.data.samples.train)
        data = self.data.model_copy(update={"first": self.data.first + number * step})
        return self.model_copy(update={"data": data})

    @model_validator(mode="after")
    def _streams_rendered_people_only(self) -> Self:
        names = [*self.datasets, *(source.name for source in self.sources)]
        if len(set(names)) < len(names):
            raise ValueError(f"datasets and sources have a name twice: {', '.join(names)}")
        if self.stream is not None and names:
            raise ValueError(
                f"stream would leave out the training rows of {', '.join(names)}: only "
                "rendered people can be streamed; remove [stream], or datasets and sources"
            )
        return self

    @model_validator(mode="after")
    def _floors_name_metrics(self) -> Self:
        unknown = sorted(set(self.promotion.floors) - set(FLOOR_METRICS))
        if unknown:
            raise ValueError(
                f"no metric {', '.join(unknown)}; floors can be set for {', '.join(FLOOR_METRICS)}"
            )
        ratios = [name for name in FLOOR_METRICS if "_over_" in name]
        for judge in self.judges:
            unknown = sorted(set(judge.floors) - {*FLOOR_METRICS} | set(judge.floors) & {*ratios})
            if unknown:
                raise ValueError(f"the judge {judge.name} can't have a floor of {unknown[0]}")
        if len({judge.name for judge in self.judges}) < len(self.judges):
            raise ValueError("two judges are of the same dataset")
        if not (self.judges or self.promotion.rendered_decides):
            raise ValueError("without judges promotion.rendered_decides must be true")
        needed = self.promotion.min_gate_samples
        if self.data.samples.gate < needed:
            raise ValueError(
                f"data.samples.gate is {self.data.samples.gate}, but promotion.min_gate_samples "
                f"asks for at least {needed}: fewer decide little"
            )
        return self


PROFILES_VARIABLE: Final = "HEMLETS_PROFILES"
"""Environment variable with a folder of further profiles."""


def _folders() -> list[Path]:
    own = os.environ.get(PROFILES_VARIABLE)
    bundled = Path(str(resources.files("flows") / "profiles"))
    return [Path(own).expanduser(), bundled] if own else [bundled]


def profile_names() -> list[str]:
    """Names of the profiles in the user's folder and of the bundled ones."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})


def load_profile(name_or_path: str, overrides: tuple[str, ...] = ()) -> Profile:
    """Load a profile by name, or a file by path.

    Args:
        name_or_path: E.g. ``demo`` or ``my/profile.toml``.
        overrides: ``section.key=value`` with a TOML value, applied over the file.

    Raises:
        ConfigError: No such profile, or a wrong key or value, with the choices.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        places = [folder / f"{name_or_path}.toml" for folder in _folders()]
        path = next((place for place in places if place.exists()), places[-1])
        if not path.exists():
            raise ConfigError(
                f"there is no profile {name_or_path!r}",
                where="--profile",
                expected=f"one of {', '.join(profile_names())}, or the path of a .toml file",
            )
    values = set_overrides({"name": path.stem} | read_toml(path), overrides)
    given = "".join(f" --set {override}" for override in overrides)
    return Profile.from_mapping(values, where=f"{path}{given}")
