"""What each figure means, in a sentence for a reader who wasn't there."""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import JOINTS, PARTS, Joint
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.names import MetricName

__all__ = [
    "MEANINGS",
    "PREDICTORS",
    "RENDERED_ANEW",
    "compared_over",
    "explain",
    "glossary",
    "how_measured",
    "what_was_given",
]

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
    "joints2d_px": "Mean distance of the predicted from the true joints in the image, in its own "
    "pixels. Smaller is better.",
}

_OVER: Final = {
    "13j-limbs-pelvis": "the pelvis and the 12 joints of the limbs",
    "13j-no-head-top": "13 of LSP's 14 joints (all but the head top)",
    "14j": "LSP's 14 joints",
    "16j": "MPII's 16 joints",
    "17j": "Human3.6M's 17 joints",
    "17j-no-pelvis": "17 of the 18 joints (all but the pelvis, which is right by construction)",
    "18j": "all 18 joints",
    "pelvis": "the pelvis alone",
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
    "bone-length-prior": "from the camera, which is given, and the mean lengths of the model's own "
    "predicted bones on its validation split, never from the sample's truth",
    "training-mean": "those of the training set's mean pose, which is answered as it is",
    "linear-lifter": "learned: a linear map of the true 2D joints in the box answers millimetres",
}

PREDICTORS: Final = {
    "mean-pose": "The same answer to every image: each joint's mean place relative to the pelvis "
    "over the training split, in millimetres along the camera's axes (right, down, away), with the "
    "mean rotations θ, the pelvis' facing among them, and the mean β. It is "
    "given nothing of the sample, and nothing is normalised, turned or scaled to fit it.",
    "linear-lifter": "It is given the true 2D joints in place of the image, with the person's "
    "box and the image's size, but not the camera. Joints are taken relative to the middle of "
    "the square around the box, in units of its side (a joint without a 2D annotation stands in "
    "the middle); with them come the box's side, its shape and its place in the image. Each of "
    "these 40 numbers is shifted and divided by its mean and spread over the training split, "
    "and a linear map (ridge regression, its strength chosen on the validation split) gives the "
    "joints relative to the pelvis in millimetres: nothing is scaled to the sample afterwards. "
    "It has no rotations, no surface and no place in the room.",
}
"""What the predictors that a model has to beat are given, and what they do with it."""

RENDERED_ANEW: Final = (
    "each frame is rendered several times with other bodies, cameras and backgrounds, which are "
    "drawn together"
)
"""What else a sequence of rendered people is."""


def explain(name: MetricName) -> str:
    """Meaning and protocol of a figure, in sentences."""
    return f"{MEANINGS.get(name.key, '')} {how_measured(name)}".strip()


def how_measured(name: MetricName) -> str:
    """The protocol of a figure, in sentences: over what, moved how, given what."""
    return (
        f"Measured over {_over(name.over)} on the samples of “{name.split}”; {_aligned(name)}. "
        f"{what_was_given(name)}"
    )


def compared_over(name: MetricName) -> str:
    """The part of a figure's protocol that is its own: over what, moved how."""
    return f"Over {_over(name.over)}; {_aligned(name)}."


def _aligned(name: MetricName) -> str:
    """How poses were moved, and what that makes right by itself."""
    said = _ALIGNED.get((name.root, name.align), f"root {name.root}, alignment {name.align}")
    if name.root == "pelvis" and Joint.PELVIS in JOINT_SETS.get(name.over, ()):
        said += ", so that the pelvis counts with an error of 0"
    return said


def what_was_given(name: MetricName) -> str:
    """The part of a figure's protocol that the predictor had: box, scale, mirrored image."""
    flip = "averaged with the mirrored image's" if name.flip == "yes" else "of the image as it is"
    return (
        f"Person's box: {_BOXES.get(name.box, name.box)}; metric scale and depth: "
        f"{_DEPTHS.get(name.depth, name.depth)}; prediction {flip}."
    )


_BONE_LENGTHS: Final = "bone-length-prior"

_GLOSSARY: Final = {
    "Joints": "The 18 are {joints}. Right and left are the person's own.",
    "Bones": "The 14 are {bones}.",
    "Metric scale and depth": "The network places each joint in the image and says, in "
    "millimetres, how much nearer or farther than the pelvis it is. With the camera and a distance "
    "of the pelvis that is a skeleton in millimetres. On the validation split of its training the "
    "pelvis' true distance was put in, and the mean length of each of the 14 bones noted (kept "
    "within 0.5 to 1.1 times the training people's true one). In a test image the pelvis is put "
    "where the bones come closest to those lengths.",
}
_GLOSSARY_RENDERED: Final = {
    "Joints in the image": "A prediction's are the network's own places there, where pictures show "
    "it in bold; its skeleton in space projects to the same, since each joint lies on the ray "
    "through its pixel. Only "
    "annotated joints count; of rendered people that is all 18, hidden and cut-off ones too.",
    "Person's box": "The annotated one goes around the whole rendered body, hidden parts too, and "
    "ends at the image's edge. The network sees the square around it with some margin. A "
    "detector's box mostly follows what can be seen of a person.",
    "Open body": "The project's own body model in SMPL's form, made from the package anny; people "
    "are rendered with it. θ are the rotations of 24 joints: the pelvis', which is the facing, and "
    "23 below it. β are ten numbers of body shape, all 0 for the mean of the 400 adults that it "
    "was made from. Its small mesh has 1,229 points, and all of them count. Unless a column says "
    "otherwise, the predicted body is the shape network's, not refined; its size comes from its "
    "own β, not from bone lengths, which say where it stands.",
    "Motions": "Poses are frames of captured motion clips (from the package pybullet), drawn at "
    "random, so that one frame comes several "
    "times, with another body, camera, light and background each. In a part of the samples (40 % "
    "as the renderer is set by default) some limbs are another clip's of the same split: “A+B” is "
    "a frame of family A with limbs of family B, “B+A” the other way round, and two clips of one "
    "family keep its plain name. All poses carry a little noise, and 5 % are turned anyhow, upside "
    "down too.",
}


def glossary(name: MetricName, *, rendered: bool) -> dict[str, str]:
    """Words that a page of figures uses without stopping to explain them.

    Args:
        name: A figure of the page.
        rendered: Whether its samples are this project's rendered people.
    """
    found = _GLOSSARY | (_GLOSSARY_RENDERED if rendered else {})
    words = {
        "joints": ", ".join(joint.replace("_", " ") for joint in JOINTS),
        "bones": _bones(),
    }
    return {
        word: text.format(**words)
        for word, text in found.items()
        if word != "Metric scale and depth" or name.depth == _BONE_LENGTHS
    }


def _bones() -> str:
    """The 14 parts by the joints that they join, those of both sides once."""
    middle, sides = [], []
    for part in PARTS:
        said = "–".join(
            JOINTS[end].removeprefix("left_").replace("_", " ") for end in (part.parent, part.child)
        )
        if part.name.startswith("left_"):
            sides.append(said)
        elif not part.name.startswith("right_"):
            middle.append(said)
    return f"{', '.join(middle)} and, right and left, {', '.join(sides)}"


def _over(word: str) -> str:
    """A joint, rotation or vertex set in words."""
    count, kind, rest = word.partition("r") if "r" in word else word.partition("v")
    if word in _OVER or not count.isdigit():
        return _OVER.get(word, word)
    number, rest = f"{int(count):,}", rest.replace("-", " ")
    if kind == "r":
        return f"{number} of θ's 24 rotations{rest}"
    return f"{number} points of the body's surface{rest}, which are all that the mesh has"
