"""Human3.6M (Ionescu et al. 2014), in the three forms in use.

The official archives are read by `human36m_official`, the JSON annotations that integral
regression and RootNet publish by `human36m_json`, SPIN-style npz files by `spin_npz`.
Of several forms in a folder the first is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hemlets.data.readers.contract import Dataset, LayoutEntry, ReadOptions, SourceRows, Supervision
from hemlets.data.readers.quarantine import Quarantine


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[SourceRows]:
    """Yield the rows of Human3.6M, one batch per sequence and camera.

    Settings: ``drifting`` is ``keep`` (as in the published protocols) or ``exclude``.
    """
    from hemlets.data.readers import human36m_json, human36m_official, spin_npz

    if human36m_official.found(root):
        yield from human36m_official.read(root, options, quarantine)
    elif human36m_json.found(root):
        yield from human36m_json.read(root, options, quarantine)
    else:
        yield from spin_npz.read_human36m(root, options, quarantine)


DATASET = Dataset(
    name="human36m",
    title="Human3.6M",
    paper="Ionescu, Papava, Olaru, Sminchisescu: Human3.6M, TPAMI 2014",
    licence="Human3.6M licence agreement, vision.imar.ro/human3.6m",
    document="metadata.xml and the visualisation code that come with the dataset",
    supervision=(Supervision.JOINTS_3D, Supervision.JOINTS_2D, Supervision.RELATIONS),
    layout=(
        LayoutEntry(
            pattern="S*/MyPoseFeatures/D2_Positions/*.cdf"
            "|*/S*/MyPoseFeatures/D2_Positions/*.cdf"
            "|annotations/Human36M_subject*_joint_3d.json"
            "|*h36m*.npz",
            what="2D positions, or the JSON annotations, or a SPIN-style npz",
        ),
        LayoutEntry(
            pattern="S*/MyPoseFeatures/D3_Positions*/*.cdf|*/S*/MyPoseFeatures/D3_Positions*/*.cdf",
            what="3D positions; _mono ones are in the camera frame",
            required=False,
        ),
        LayoutEntry(
            pattern="metadata.xml|*/metadata.xml|cameras.pkl",
            what="cameras: the dataset's own, or a pickle of them",
            required=False,
        ),
        LayoutEntry(
            pattern="S*/Videos/*.mp4|S*/Images/*/*.jpg|*/S*/Videos/*.mp4|images/*|S*/*/*.jpg",
            what="videos, or extracted frames S1/Images/Directions 1.54138969/000001.jpg",
            required=False,
        ),
    ),
    joints=(
        "points 0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27 of the 32; the thorax "
        "is the middle of the shoulders"
    ),
    conventions=(
        "Millimetres; D3_Positions in the world, D3_Positions_mono in the camera frame, "
        "x_cam = R (x_world − T) with R = Rx Ry Rz from w0 of metadata.xml. Pixels and principal "
        "points come from a calibration that counts from the centre of the top-left pixel: 0.5 is "
        "added to both. The dataset's tangential distortion lacks OpenCV's factor of 2 on the "
        "radial product; read as OpenCV's it is 0.02 px off in the mean and 0.07 at most. The JSON "
        "form has no distortion, its 2D is the plain projection. Boxes come from the joints. "
        "Training takes every 5th frame, testing every 64th."
    ),
    faults=(
        "S11 Directions, camera 54138969: the video is corrupt; left out",
        "S9 Greeting, SittingDown 1 and Waiting 1 (Greeting-2, SittingDown-2, Waiting-1 in the "
        "order of the takes): the motion capture drifts off the person; kept, as published "
        "protocols do, and left out with the setting drifting=exclude",
        "S11 Phoning, camera 55011271 lacks frames at its end in some releases; rows without a "
        "picture are found at ingest",
    ),
    reader="hemlets.data.readers.human36m:read",
    settings=("drifting",),
)
