"""What each figure means, in a sentence for a reader who wasn't there."""

from __future__ import annotations

from typing import Final

from hemlets.evaluation.names import MetricName

__all__ = ["MEANINGS", "compared_over", "explain", "how_measured", "what_was_given"]

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
    "theta_deg": "Mean angle between the predicted and the true rotation of a joint against the "
    "one above it, over the joints below the pelvis that move anywhere in the samples. Smaller is "
    "better; what does not stay below the rest pose's is worth nothing.",
    "theta_rest_deg": "The same angle of a body at rest, which knows nothing of the image: what a "
    "prediction must stay below.",
    "root_mm": "Distance of the predicted from the true pelvis in front of the camera: place and "
    "depth in the room. Smaller is better.",
    "joints2d_px": "Mean distance of the predicted from the true joints in the image. Smaller is "
    "better.",
}

_OVER: Final = {
    "13j-limbs-pelvis": "the pelvis and the 12 joints of the limbs",
    "13j-no-head-top": "13 of LSP's 14 joints (all but the head top)",
    "14j": "LSP's 14 joints",
    "16j": "MPII's 16 joints",
    "17j": "Human3.6M's 17 joints",
    "17j-no-pelvis": "17 of the 18 joints (all but the pelvis, which is right by construction)",
    "18j": "all 18 joints",
}
_ALIGNED: Final = {
    ("pelvis", "none"): "both poses were moved to have the pelvis at the origin, nothing else",
    ("centroid", "rigid"): "the predicted pose was turned and moved to fit, not scaled",
    ("centroid", "similarity"): "the predicted pose was turned, moved and scaled to fit",
    ("none", "none"): "nothing was moved to fit",
}
_BOXES: Final = {
    "ground-truth": "the annotated one",
    "mask": "around the annotated person's pixels",
}
_DEPTHS: Final = {
    "bone-length-prior": "from the camera, which is given, and the mean bone lengths of skeletons "
    "predicted or annotated elsewhere, never the sample's own",
    "training-mean": "the training set's mean pose as it is",
    "linear-lifter": "from a linear map of the true 2D joints",
}


def explain(name: MetricName) -> str:
    """Meaning and protocol of a figure, in sentences."""
    return f"{MEANINGS.get(name.key, '')} {how_measured(name)}".strip()


def how_measured(name: MetricName) -> str:
    """The protocol of a figure, in sentences: over what, moved how, given what."""
    aligned = _ALIGNED.get((name.root, name.align), f"root {name.root}, alignment {name.align}")
    return (
        f"Measured over {_over(name.over)} on the samples “{name.split}”; {aligned}. "
        f"{what_was_given(name)}"
    )


def compared_over(name: MetricName) -> str:
    """The part of a figure's protocol that is its own: over what, moved how."""
    aligned = _ALIGNED.get((name.root, name.align), f"root {name.root}, alignment {name.align}")
    return f"Over {_over(name.over)}; {aligned}."


def what_was_given(name: MetricName) -> str:
    """The part of a figure's protocol that the predictor had: box, scale, mirrored image."""
    flip = "averaged with the mirrored image's" if name.flip == "yes" else "of the image as it is"
    return (
        f"Person's box: {_BOXES.get(name.box, name.box)}; metric scale and depth: "
        f"{_DEPTHS.get(name.depth, name.depth)}; prediction {flip}."
    )


def _over(word: str) -> str:
    """A joint, rotation or vertex set in words."""
    count, kind, rest = word.partition("r") if "r" in word else word.partition("v")
    if word in _OVER or not count.isdigit():
        return _OVER.get(word, word)
    what = "rotations" if kind == "r" else "points of the body's surface"
    return f"{int(count):,} {what}{rest.replace('-', ' ')}"
