"""Settings of single steps; outside the profile, so that a step's code hash excludes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hemlets.core.config import Config


class BenchmarkConfig(Config):
    """How models are scored.

    Attributes:
        promotion_metric: Error that the challenger and the champion are compared by, on the
            gate split.
        resamples: Draws of the bootstrap.
        pictures: Samples in the contact sheets.
        bodies: Test samples, spread evenly over the split, on which bodies are studied: refined,
            with oracle inputs, and compared with baselines. 0 leaves the study out.
    """

    promotion_metric: Literal[
        "mpjpe_mm", "pa_mpjpe_mm", "rigid_mpjpe_mm", "per_vertex_mm", "theta_deg"
    ] = "mpjpe_mm"
    resamples: int = Field(2000, ge=100)
    pictures: int = Field(12, ge=4)
    bodies: int = Field(128, ge=0)


class CanaryConfig(Config):
    """Test of the packaged model through a real endpoint.

    Attributes:
        samples: Held-out images that are posted.
        joints_tolerance_mm: Largest difference of a joint from the saved prediction.
    """

    samples: int = Field(24, ge=1)
    joints_tolerance_mm: float = Field(0.5, gt=0)
    theta_tolerance_rad: float = Field(0.01, gt=0)
    betas_tolerance: float = Field(0.01, gt=0)


Hours = Annotated[float, Field(gt=0, le=2000)]


class StepTimeouts(Config):
    """Time limit of each step in hours; a step that exceeds it fails the run.

    Attributes:
        sync: Of looking at the sources and ingesting what is new.
        ingest: Of rendering and merging.
        validate_data: Of the expectations about the data.
        train: Of each of the two trainings.
        benchmark: Of predicting and scoring.
        package: Of the archive and its trial through an endpoint.
        promote: Of scoring the champion and deciding.
    """

    sync: Hours = 12
    ingest: Hours = 48
    validate_data: Hours = 12
    train: Hours = 500
    benchmark: Hours = 48
    package: Hours = 2
    promote: Hours = 48


class DriftSettings(Config):
    """Comparison of the endpoint's prediction log with the champion's benchmark.

    Attributes:
        log: Folder or ``s3://bucket/prefix`` of the endpoint's prediction log.
        hours: Length of the window.
        psi: Population stability index above which a feature may give an alarm.
        p_value: Chance, by the Kolmogorov–Smirnov test, below which it does.
        min_people: People in the window that an alarm needs.
    """

    log: str = Field(min_length=1)
    hours: float = Field(24, gt=0)
    psi: float = Field(0.25, gt=0)
    p_value: float = Field(0.001, gt=0, lt=1)
    min_people: int = Field(200, ge=2)
