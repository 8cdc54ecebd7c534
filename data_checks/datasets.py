"""What is known of each dataset: facts that its rows can be held against.

Vocabularies come from the datasets' own documents. Readers may decorate a name (``S1/Walking 1``
for ``Walking``), so a vocabulary is a pattern that the whole name must match.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hemlets.core.skeleton import Joint


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """One dataset.

    Attributes:
        absent: Joints that it never has, with the reason in ``why``.
        joints3d: Whether it has 3D joints.
        smpl: Whether it has θ and β.
        relations: Sources that its depth relations may come from, ``3d`` included.
        subjects: Pattern of its subjects' names; None where they are unbounded.
        cameras: Pattern of its cameras' names.
        actions: Pattern of its actions' names.
        tested_by_subject: Its protocol tests on subjects that are not trained on.
        image_sizes: Width and height of its source images, where these are few.
        markerless: Its 3D joints were found in pictures, so that single frames are off by far.
        bending: Parts that bend between their joints, so that their length says little.
        reprojection_of_box: Tolerance of reprojection as a share of the box's longer side, for
            datasets whose camera or 2D joints were fitted or annotated apart from the 3D.
        why: Where the facts come from, and reasons.
    """

    absent: frozenset[Joint] = frozenset()
    joints3d: bool = False
    smpl: bool = False
    relations: frozenset[str] = frozenset()
    subjects: str | None = None
    cameras: str | None = None
    actions: str | None = None
    tested_by_subject: bool = False
    image_sizes: tuple[tuple[int, int], ...] = ()
    markerless: bool = False
    bending: frozenset[str] = frozenset()
    reprojection_of_box: float = 0.01
    why: str


_H36M_ACTIONS: Final = (
    r"(?i).*\b_?(directions|discussion|eating|greeting|phoning|photo|taking ?photo|posing|"
    r"purchases|sitting|sitting ?down|smoking|waiting|walking|walking ?dog|walk ?dog|"
    r"walking ?together|walk ?together)([ _-]?\d+)?"
)
_ALL_3D: Final = frozenset(("3d",))
_LABELLED: Final = frozenset(("fbi", "ordinal"))
_CIRCUS: Final = frozenset((Joint.PELVIS, Joint.SPINE, Joint.NOSE))

DATASETS: Final = MappingProxyType(
    {
        "human36m": DatasetFacts(
            joints3d=True,
            smpl=True,
            relations=_ALL_3D | _LABELLED,
            subjects=r"(?i)(s|subject)?_?0*(1|5|6|7|8|9|11)",
            cameras=r".*(54138969|55011271|58860488|60457274|[0-3])",
            actions=_H36M_ACTIONS,
            tested_by_subject=True,
            image_sizes=((1000, 1000), (1000, 1002)),
            bending=frozenset(("head",)),
            reprojection_of_box=0.02,
            why="Ionescu et al. 2014: seven subjects with public poses, four cameras by serial "
            "number, 15 actions in two takes, 50 Hz; S9 and S11 are everybody's test subjects. "
            "Images are 1000×1000 or 1000×1002. Between neck and head top lies its nose, about "
            "which the head bends.",
        ),
        "humaneva": DatasetFacts(
            absent=frozenset((Joint.SPINE, Joint.NOSE, Joint.HEAD_TOP)),
            joints3d=True,
            relations=_ALL_3D,
            subjects=r"(?i)(s|subject)?_?0*[1-4]",
            cameras=r"(?i).*(c[1-3]|bw[1-4]|[1-7])",
            actions=r"(?i).*(box|gestures|jog|throwcatch|throw ?catch|walking|combo)([ _-]?\d+)?",
            image_sizes=((640, 480), (644, 484), (659, 494), (656, 490), (644, 488)),
            reprojection_of_box=0.05,
            why="Sigal et al. 2010: four subjects, three colour and four grey cameras, 60 Hz. "
            "Its head is a point within the head, neither the top nor the nose.",
        ),
        "mpi_inf_3dhp": DatasetFacts(
            joints3d=True,
            relations=_ALL_3D,
            subjects=r"(?i)(s|subject)?_?0*[1-8]|ts_?0*[1-6]",
            cameras=r"(?i).*?(\d|1[0-3])|.*test.*|",
            tested_by_subject=True,
            image_sizes=((2048, 2048), (1920, 1080)),
            markerless=True,
            reprojection_of_box=0.03,
            why="Mehta et al. 2017: eight training subjects in 14 cameras of 2048×2048, six test "
            "sequences TS1–TS6 of 2048×2048 or 1920×1080. One calibration in circulation has a "
            "height of 204.",
        ),
        "mpii": DatasetFacts(
            absent=frozenset((Joint.SPINE, Joint.NOSE)),
            relations=_LABELLED,
            why="Andriluka et al. 2014: 16 joints; no spine, no nose; 2D only.",
        ),
        "lsp": DatasetFacts(
            absent=_CIRCUS,
            relations=_LABELLED,
            why="Johnson and Everingham 2010: 14 joints from ankles to head top; 2D only.",
        ),
        "lspet": DatasetFacts(
            absent=_CIRCUS,
            relations=_LABELLED,
            why="Johnson and Everingham 2011: the 14 joints of LSP; 2D only.",
        ),
        "coco": DatasetFacts(
            absent=frozenset((Joint.PELVIS, Joint.SPINE, Joint.HEAD_TOP)),
            relations=_LABELLED,
            why="Lin et al. 2014: 17 keypoints, five of them in the face; no trunk, no head top; "
            "2D only.",
        ),
        "ordinal": DatasetFacts(
            absent=frozenset((Joint.SPINE, Joint.NOSE)),
            relations=_LABELLED,
            why="Pavlakos et al. 2018: ordinal depths of LSP's and MPII's joints.",
        ),
        "fbi": DatasetFacts(
            relations=_LABELLED,
            why="Labels of the paper's section 5 on 2D datasets: forward, backward, unknown.",
        ),
        "surreal": DatasetFacts(
            joints3d=True,
            smpl=True,
            relations=_ALL_3D,
            image_sizes=((320, 240), (240, 320)),
            reprojection_of_box=0.05,
            why="Varol et al. 2017: rendered SMPL bodies in 320×240; its 24 joints have neither "
            "nose nor head top of their own.",
        ),
        "up3d": DatasetFacts(
            joints3d=True,
            smpl=True,
            relations=_ALL_3D | _LABELLED,
            reprojection_of_box=0.25,
            why="Lassner et al. 2017: SMPL fitted to stills, accepted by eye: 2D joints and body "
            "differ.",
        ),
        "threedpw": DatasetFacts(
            joints3d=True,
            smpl=True,
            relations=_ALL_3D,
            image_sizes=((1920, 1080), (1080, 1920)),
            reprojection_of_box=0.25,
            why="von Marcard et al. 2018: SMPL from inertial sensors and video at 30 Hz; its 2D "
            "joints are a detector's.",
        ),
        "spin_npz": DatasetFacts(
            joints3d=True,
            smpl=True,
            relations=_ALL_3D | _LABELLED,
            reprojection_of_box=0.25,
            why="Kolotouros et al. 2019: many datasets in one form, SMPL by fitting.",
        ),
    }
)  # fmt: skip
"""By the name that the table's ``source`` has."""
