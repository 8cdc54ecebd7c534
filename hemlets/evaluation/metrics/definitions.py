"""Every metric once: label, unit, direction and meaning.

Pages, tables, MLflow names, the command line and messages all read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_UNITS: Final = {"deg": "°", "pct": "%"}

Kind = Literal["joints", "pixels", "surface", "rotations", "segments", "derived"]
"""What a metric is measured on: joints in 3D or in the image, the skin, θ, masks, or other metrics.
Derived metrics can't be asked for by a protocol."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity.

    Attributes:
        key: identifier; its end is the unit, except for ratios (``…_over_…``).
        label: short title for tables, without the unit.
        phrase: name within a sentence.
        better: which direction is better; empty for a reference value.
        meaning: description in full sentences.
        kind: kind of the measured object.
    """

    key: str
    label: str
    phrase: str
    better: Literal["lower", "higher", ""]
    meaning: str
    kind: Kind = "joints"

    @property
    def unit(self) -> str:
        """``mm``, ``px``, ``°`` or ``%``; empty for a ratio."""
        if "_over_" in self.key:
            return ""
        unit = self.key.rpartition("_")[2]
        return _UNITS.get(unit, unit)

    @property
    def title(self) -> str:
        """Label and unit, e.g. ``MPJPE (mm)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is better."""
        return self.better == "higher"

    @property
    def explanation(self) -> str:
        """Meaning and direction."""
        direction = {"lower": " Smaller is better.", "higher": " Larger is better.", "": ""}
        return self.meaning + direction[self.better]


_POOLED: Final = "Counted over the pixels of all images together."

_TABLE: Final = (
    Metric(
        key="mpjpe_mm",
        label="MPJPE",
        phrase="the mean joint error (MPJPE)",
        better="lower",
        meaning="Mean distance between predicted and true joints after moving both pelves to the "
        "same point.",
    ),
    Metric(
        key="pa_mpjpe_mm",
        label="PA-MPJPE",
        phrase="the joint error after similarity alignment (PA-MPJPE)",
        better="lower",
        meaning="Mean distance between joints after the rotation, translation and scale that fit "
        "the predicted pose to the true one best: errors of orientation, position and size don't "
        "count.",
    ),
    Metric(
        key="rigid_mpjpe_mm",
        label="MPJPE, rigidly aligned",
        phrase="the joint error after rigid alignment",
        better="lower",
        meaning="Mean distance between joints after the rotation and translation, without "
        "scaling, that fit the predicted pose to the true one best.",
    ),
    Metric(
        key="pck3d_150mm_pct",
        label="3DPCK at 150 mm",
        phrase="the share of joints within 150 mm (3DPCK)",
        better="higher",
        meaning="Share of joints nearer than 150 mm to the true ones after moving both pelves to "
        "the same point.",
    ),
    Metric(
        key="auc3d_150mm_pct",
        label="3D AUC to 150 mm",
        phrase="the share of joints over all thresholds to 150 mm (AUC)",
        better="higher",
        meaning="Mean share of joints nearer than a threshold, over the thresholds 0, 5, … 150 "
        "mm; a perfect pose has 96.8 %.",
    ),
    Metric(
        key="per_vertex_mm",
        kind="surface",
        label="Per-vertex error",
        phrase="the mean surface error",
        better="lower",
        meaning="Mean distance between the surface points of the predicted and the true body "
        "after moving both pelves to the same point.",
    ),
    Metric(
        key="mesh_joints_mm",
        kind="surface",
        label="MPJPE of the mesh",
        phrase="the joint error of the mesh",
        better="lower",
        meaning="As MPJPE, for the joints computed from the surfaces of the predicted and the "
        "true body.",
    ),
    Metric(
        key="mesh_pa_mpjpe_mm",
        kind="surface",
        label="PA-MPJPE of the mesh",
        phrase="the joint error of the mesh after similarity alignment",
        better="lower",
        meaning="As PA-MPJPE, for the joints computed from the surfaces of the predicted and the "
        "true body; also called reconstruction error.",
    ),
    Metric(
        key="pckh50_pct",
        kind="pixels",
        label="PCKh at 0.5",
        phrase="the share of joints within half a head (PCKh)",
        better="higher",
        meaning="Share of joints in the image within half a head's length of the true ones.",
    ),
    Metric(
        key="pck20_torso_pct",
        kind="pixels",
        label="PCK at 0.2 of the torso",
        phrase="the share of joints within a fifth of the torso (PCK)",
        better="higher",
        meaning="Share of joints in the image within a fifth of the torso's length of the true "
        "ones.",
    ),
    Metric(
        key="foreground_accuracy_pct",
        kind="segments",
        label="Foreground accuracy",
        phrase="the share of correct person and background pixels",
        better="higher",
        meaning=f"Share of pixels whose label, person or background, is correct. {_POOLED}",
    ),
    Metric(
        key="foreground_mean_f1_pct",
        kind="segments",
        label="Foreground F1, mean of two classes",
        phrase="the mean F1 of person and background",
        better="higher",
        meaning=f"Mean F1 over the two classes, person and background. {_POOLED}",
    ),
    Metric(
        key="foreground_miou_pct",
        kind="segments",
        label="Foreground mIoU",
        phrase="the mean intersection over union of person and background",
        better="higher",
        meaning="Mean intersection over union of the two classes, person and background. "
        f"{_POOLED}",
    ),
    Metric(
        key="parts_accuracy_pct",
        kind="segments",
        label="Parts accuracy",
        phrase="the share of correct part pixels",
        better="higher",
        meaning="Share of pixels whose label, one of six parts or background, is correct. "
        f"{_POOLED}",
    ),
    Metric(
        key="parts_f1_pct",
        kind="segments",
        label="Parts F1",
        phrase="the mean F1 of the body's parts",
        better="higher",
        meaning=f"Mean F1 over seven labels, six parts and background. {_POOLED}",
    ),
    Metric(
        key="parts_miou_pct",
        kind="segments",
        label="Parts mIoU",
        phrase="the mean intersection over union of the body's parts",
        better="higher",
        meaning="Mean intersection over union of seven labels, six parts and background. "
        f"{_POOLED}",
    ),
    Metric(
        key="theta_deg",
        kind="rotations",
        label="Rotation error, moving joints",
        phrase="the mean error of joint rotations",
        better="lower",
        meaning="Mean angle between the predicted and the true rotation of a joint relative to "
        "its parent, over the joints below the pelvis that move anywhere in the samples. A "
        "prediction that is no better than the rest pose has learned nothing.",
    ),
    Metric(
        key="theta_rest_deg",
        kind="rotations",
        label="Rotation error of the rest pose",
        phrase="the error of joint rotations of a body at rest",
        better="",
        meaning="The same angle for a body in the rest pose, which ignores the image: a "
        "prediction must stay below it.",
    ),
    Metric(
        key="root_mm",
        label="Root position error",
        phrase="the error of the pelvis position",
        better="lower",
        meaning="Distance between the predicted and the true pelvis in the camera frame: position "
        "and depth in the scene.",
    ),
    Metric(
        key="joints2d_px",
        kind="pixels",
        label="2D joint error",
        phrase="the joint error in the image",
        better="lower",
        meaning="Mean distance between predicted and true joints in the image, in its own pixels.",
    ),
    Metric(
        key="reprojection_from_truth_px",
        kind="derived",
        label="Reprojection error against the truth",
        phrase="the error of the body's joints in the image",
        better="lower",
        meaning="Mean distance in the image between the posed body's joints and the true joints.",
    ),
    Metric(
        key="reprojection_from_network_px",
        kind="derived",
        label="Reprojection error against the network's joints",
        phrase="the distance in the image of the body's joints from the network's own",
        better="lower",
        meaning="Mean distance in the image between the posed body's joints and the joints that "
        "the pose network predicts.",
    ),
    Metric(
        key="depth_mm",
        label="Depth error",
        phrase="the depth error of joints",
        better="lower",
        meaning="Mean difference between predicted and true depth of joints relative to the "
        "pelvis.",
    ),
    Metric(
        key="relations_right_pct",
        label="Depth relations right",
        phrase="the share of correct depth relations",
        better="higher",
        meaning="Share of the 14 parts whose depth relation (forward, level or backward) is "
        "correct.",
    ),
    Metric(
        key="mpjpe_over_mean_pose",
        kind="derived",
        label="MPJPE as a share of the mean pose's",
        phrase="the joint error over that of always answering the mean pose",
        better="lower",
        meaning="MPJPE divided by the MPJPE of the training set's mean pose.",
    ),
    Metric(
        key="mpjpe_over_linear_lifter",
        kind="derived",
        label="MPJPE as a share of the linear lifter's",
        phrase="the joint error over that of a linear map of the true 2D joints",
        better="lower",
        meaning="MPJPE divided by the MPJPE of a linear map of the true 2D joints.",
    ),
)

METRICS: Final[dict[str, Metric]] = {metric.key: metric for metric in _TABLE}


def keys_of(*kinds: Kind) -> frozenset[str]:
    """Keys of the metrics that are measured on these."""
    return frozenset(metric.key for metric in _TABLE if metric.kind in kinds)


ROTATIONS: Final = keys_of("rotations")
SURFACE: Final = keys_of("surface")
PIXELS: Final = keys_of("pixels")
SEGMENTS: Final = keys_of("segments")
MEASURED: Final = METRICS.keys() - keys_of("derived")
"""Keys that a protocol may ask for."""


def metric_of(key: str) -> Metric:
    """Return the metric of a key; an unknown key becomes its own label."""
    return METRICS.get(key) or Metric(
        key=key, label=key, phrase=key, better="higher" if key.endswith("_pct") else "lower",
        meaning="",
    )  # fmt: skip


def metric_label(key: str) -> str:
    """Return a metric's name in a sentence; an unknown key is returned as it is.

    Examples:
        >>> metric_label("pa_mpjpe_mm"), metric_label("unknown")
        ('the joint error after similarity alignment (PA-MPJPE)', 'unknown')
    """
    return metric_of(key).phrase


def format_value(key: str, value: float) -> str:
    """Format a value with its unit; ratios as percentages.

    Examples:
        >>> format_value("mpjpe_mm", 80.04), format_value("mpjpe_over_mean_pose", 0.456)
        ('80.04 mm', '45.6 %')
        >>> format_value("theta_deg", 3.0), format_value("unknown", 3.0)
        ('3°', '3')
        >>> format_value("root_mm", 95867.02)
        '95867 mm'
    """
    if "_over_" in key:
        return f"{_digits(100 * value)} %"
    unit = metric_of(key).unit
    known = {"mm": " mm", "px": " px", "°": "°", "%": " %"}
    return f"{_digits(value)}{known.get(unit, '')}"


def _digits(value: float) -> str:
    """At least four significant digits, and no exponent of a large number."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
