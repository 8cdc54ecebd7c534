"""Facts about known datasets that their rows are checked against.

Facts of a reader's `Dataset` (publication, supervision) are not repeated here. Vocabularies come
from the datasets' own documents. Readers may decorate a name (``S1/Walking 1`` for ``Walking``),
so a vocabulary is a pattern for the whole name.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hemlets.core.skeleton import Joint
from hemlets.data.readers.contract import Dataset, Supervision


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Facts about one dataset.

    Attributes:
        name: The table's ``source``.
        absent: Joints that it never has, with the reason in ``note``.
        also: Supervision that some distributions of it have beyond the reader's `Dataset`.
        labelled: Whether people labelled its depth relations.
        subjects: Pattern of its subjects' names; None if unbounded.
        cameras: Pattern of its cameras' names.
        actions: Pattern of its actions' names.
        tested_by_subject: Whether its protocol tests on other subjects than it trains on.
        image_sizes: Width and height of its source images, if few.
        markerless: Its 3D joints were found in images, so single frames have large errors.
        bending: Parts that bend between their joints, so that their length varies.
        reprojection_of_box: Tolerance of reprojection as a share of the box's longer side, for
            datasets whose camera or 2D joints were fitted or annotated independently of the 3D.
        note: Reasons for these facts.
    """

    name: str
    absent: frozenset[Joint] = frozenset()
    also: frozenset[Supervision] = frozenset()
    labelled: bool = False
    subjects: str | None = None
    cameras: str | None = None
    actions: str | None = None
    tested_by_subject: bool = False
    image_sizes: tuple[tuple[int, int], ...] = ()
    markerless: bool = False
    bending: frozenset[str] = frozenset()
    reprojection_of_box: float = 0.01
    note: str

    @property
    def dataset(self) -> Dataset:
        """The reader's dataset."""
        from hemlets.data.readers.catalogue import find

        return find(self.name)

    @property
    def supervision(self) -> frozenset[Supervision]:
        """Kinds of labels that its rows may have."""
        return self.also | frozenset(self.dataset.supervision)

    @property
    def joints3d(self) -> bool:
        """Whether it has 3D joints."""
        return Supervision.JOINTS_3D in self.supervision

    @property
    def smpl(self) -> bool:
        """Whether it has θ and β."""
        return Supervision.SMPL in self.supervision

    @property
    def relations(self) -> frozenset[str]:
        """Allowed sources of its depth relations."""
        computed = ("3d",) if self.joints3d else ()
        return frozenset((*computed, *(("fbi", "ordinal") if self.labelled else ())))

    @property
    def why(self) -> str:
        """Sources and reasons of the facts."""
        return f"{self.dataset.paper}: {self.note}"


_H36M_ACTIONS: Final = (
    r"(?i).*\b_?(directions|discussion|eating|greeting|phoning|photo|taking ?photo|posing|"
    r"purchases|sitting|sitting ?down|smoking|waiting|walking|walking ?dog|walk ?dog|"
    r"walking ?together|walk ?together)([ _-]?\d+)?"
)
_CIRCUS: Final = frozenset((Joint.PELVIS, Joint.SPINE, Joint.NOSE))

_FACTS: Final = (
    DatasetFacts(
        name="human36m",
        also=frozenset((Supervision.SMPL,)),
        labelled=True,
        subjects=r"(?i)(s|subject)?_?0*(1|5|6|7|8|9|11)",
        cameras=r"(.*\D)?0*(54138969|55011271|58860488|60457274|[0-4])",
        actions=_H36M_ACTIONS,
        tested_by_subject=True,
        image_sizes=((1000, 1000), (1000, 1002)),
        bending=frozenset(("head",)),
        reprojection_of_box=0.02,
        note="seven subjects with public poses, four cameras by serial number, 15 actions in"
        " two takes, 50 Hz; S9 and S11 are everybody's test subjects. Images are "
        "1000×1000 or 1000×1002. Between neck and head top lies its nose, about which "
        "the head bends.",
    ),
    DatasetFacts(
        name="humaneva",
        absent=frozenset((Joint.SPINE, Joint.NOSE, Joint.HEAD_TOP)),
        subjects=r"(?i)(s|subject)?_?0*[1-4]",
        cameras=r"(?i)(.*[^\dcw])?(c[1-3]|bw[1-4]|0*[1-7])",
        actions=r"(?i).*(box|gestures|jog|throwcatch|throw ?catch|walking|combo)([ _-]?\d+)?",
        image_sizes=((640, 480), (644, 484), (659, 494), (656, 490), (644, 488)),
        reprojection_of_box=0.05,
        note="four subjects, three colour and four grey cameras, 60 Hz. Its head is a point "
        "within the head, neither the top nor the nose.",
    ),
    DatasetFacts(
        name="mpi_inf_3dhp",
        subjects=r"(?i)(s|subject)?_?0*[1-8]|ts_?0*[1-6]",
        cameras=r"(?i)(.*\D)?0*(\d|1[0-3])|.*test.*",
        tested_by_subject=True,
        image_sizes=((2048, 2048), (1920, 1080)),
        markerless=True,
        reprojection_of_box=0.03,
        note="eight training subjects in 14 cameras of 2048×2048, six test sequences TS1–TS6"
        " of 2048×2048 or 1920×1080. One calibration in circulation has a height of "
        "204.",
    ),
    DatasetFacts(
        name="mpii",
        absent=frozenset((Joint.SPINE, Joint.NOSE)),
        labelled=True,
        note="16 joints; no spine, no nose; 2D only.",
    ),
    DatasetFacts(
        name="lsp",
        absent=_CIRCUS,
        labelled=True,
        note="14 joints from ankles to head top; 2D only.",
    ),
    DatasetFacts(
        name="lspet",
        absent=_CIRCUS,
        labelled=True,
        note="the 14 joints of LSP; 2D only.",
    ),
    DatasetFacts(
        name="coco",
        absent=frozenset((Joint.PELVIS, Joint.SPINE, Joint.HEAD_TOP)),
        labelled=True,
        note="17 keypoints, five of them in the face; no trunk, no head top; 2D only.",
    ),
    DatasetFacts(
        name="ordinal",
        absent=frozenset((Joint.SPINE, Joint.NOSE)),
        labelled=True,
        note="ordinal depths of LSP's and MPII's joints.",
    ),
    DatasetFacts(
        name="fbi",
        labelled=True,
        note="labels on 2D datasets: forward, backward, unknown.",
    ),
    DatasetFacts(
        name="surreal",
        image_sizes=((320, 240), (240, 320)),
        reprojection_of_box=0.05,
        note="rendered SMPL bodies in 320×240; its 24 joints have neither nose nor head top "
        "of their own.",
    ),
    DatasetFacts(
        name="up3d",
        also=frozenset((Supervision.JOINTS_3D,)),
        labelled=True,
        reprojection_of_box=0.25,
        note="SMPL fitted to stills, accepted by eye: 2D joints and body differ.",
    ),
    DatasetFacts(
        name="threedpw",
        image_sizes=((1920, 1080), (1080, 1920)),
        reprojection_of_box=0.25,
        note="SMPL from inertial sensors and video at 30 Hz; its 2D joints are a detector's.",
    ),
    DatasetFacts(
        name="spin_npz",
        labelled=True,
        reprojection_of_box=0.25,
        note="many datasets in one form, SMPL by fitting.",
    ),
)

DATASETS: Final = MappingProxyType({facts.name: facts for facts in _FACTS})
"""Facts by the table's ``source``."""
