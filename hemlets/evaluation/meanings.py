"""What each figure means, in a sentence for a reader who wasn't there."""

from __future__ import annotations

from typing import Final

from hemlets.evaluation.names import MetricName

__all__ = ["MEANINGS", "explain"]

MEANINGS: Final[dict[str, str]] = {
    "mpjpe_mm": "Mean distance of the predicted from the true joints with both pelves at the same "
    "point. Smaller is better.",
    "pa_mpjpe_mm": "Mean distance of the joints after the predicted pose was turned, moved and "
    "scaled to fit the true one best: errors of facing, place and size don't count. Smaller is "
    "better.",
    "rigid_mpjpe_mm": "Mean distance of the joints after the predicted pose was turned and moved, "
    "but not scaled, to fit the true one best. Smaller is better.",
    "pck3d_150mm_pct": "Share of joints nearer than 150 mm to the true ones with both pelves at "
    "the same point. Larger is better.",
    "auc3d_150mm_pct": "Mean share of joints nearer than a threshold, over the thresholds 0, 5, … "
    "150 mm; a perfect pose has 96.8 %. Larger is better.",
    "per_vertex_mm": "Mean distance of the surface points of the predicted and the true body with "
    "both pelves at the same point. Smaller is better.",
    "mesh_joints_mm": "As MPJPE, for the joints computed from the predicted and the true body's "
    "surface. Smaller is better.",
    "pckh50_pct": "Share of joints in the image within half a head's length of the true ones. "
    "Larger is better.",
    "pck20_torso_pct": "Share of joints in the image within a fifth of the torso's length of the "
    "true ones. Larger is better.",
    "foreground_accuracy_pct": "Share of pixels rightly told to be person or background, all "
    "images together. Larger is better.",
    "foreground_f1_pct": "F1 of the pixels told to be person (overlap of the drawn with the true "
    "person), all images together. Larger is better.",
    "parts_accuracy_pct": "Share of pixels with the right one of seven labels (six parts and "
    "background), all images together. Larger is better.",
    "parts_f1_pct": "Mean F1 over the seven labels, all images together. Larger is better.",
}

_ROOTS: Final = {
    "pelvis": "both poses were moved to have the pelvis at the origin",
    "centroid": "the poses meet at their centre, where the fit puts them",
    "none": "nothing was moved",
}


def explain(name: MetricName) -> str:
    """Meaning and protocol of a figure, in sentences."""
    flip = "averaged with the mirrored image's" if name.flip == "yes" else "of the image as it is"
    fitted = {"none": "no fit", "rigid": "a rigid fit", "similarity": "a similarity fit"}
    return (
        f"{MEANINGS.get(name.key, '')} Measured over {name.over} on the samples {name.split}; "
        f"{_ROOTS.get(name.root, name.root)}; {fitted.get(name.align, name.align)}. Person's box: "
        f"{name.box}; metric scale and depth: {name.depth}; prediction {flip}."
    )
