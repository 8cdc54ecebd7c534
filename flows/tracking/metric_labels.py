"""What the figures of a model are called in sentences: those that floors can be set for."""

from __future__ import annotations

from typing import Final

__all__ = ["amount", "said"]

_WORDS: Final = {
    "mpjpe_mm": "the mean joint error (MPJPE)",
    "pa_mpjpe_mm": "the joint error after turning and scaling to fit (PA-MPJPE)",
    "rigid_mpjpe_mm": "the joint error after turning to fit",
    "pck3d_150mm_pct": "the share of joints within 150 mm (3DPCK)",
    "auc3d_150mm_pct": "the share of joints over all limits to 150 mm (AUC)",
    "root_mm": "the error of the place in the room",
    "joints2d_px": "the joint error in the image",
    "theta_deg": "the mean error of joint angles",
    "theta_rest_deg": "the error of joint angles of a body at rest",
    "per_vertex_mm": "the mean surface error",
    "mesh_joints_mm": "the joint error of the mesh",
    "mpjpe_over_mean_pose": "the joint error over that of always answering the mean pose",
    "mpjpe_over_linear_lifter": "the joint error over that of a linear map of the true 2D joints",
}

_UNITS: Final = {"mm": " mm", "px": " px", "deg": "°", "pct": " %"}


def said(metric: str) -> str:
    """A metric's name in a sentence; its key where there is no other."""
    return _WORDS.get(metric, metric)


def amount(metric: str, value: float) -> str:
    """A value of a metric with its unit; ratios are shares.

    Examples:
        >>> amount("mpjpe_mm", 80.04), amount("mpjpe_over_mean_pose", 0.456), amount("x", 3.0)
        ('80.04 mm', '45.6 %', '3')
    """
    if "_over_" in metric:
        return f"{100 * value:.4g} %"
    return f"{value:.4g}{_UNITS.get(metric.rpartition('_')[2], '')}"
