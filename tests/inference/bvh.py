"""An independent reader of BVH files, for tests of their writer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, kw_only=True, eq=False)
class BvhMotion:
    """Motion in a BVH file.

    Attributes:
        names: Joint names, parents before children.
        parents: Index of each joint's parent; −1 for the root.
        offset_J3: Offset from the parent, in the file's unit.
        rotation_TJ33: Rotation of each joint relative to its parent.
        root_T3: Positions of the root.
        fps: Frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offset_J3: npt.NDArray[np.float64]
    rotation_TJ33: npt.NDArray[np.float64]
    root_T3: npt.NDArray[np.float64]
    fps: float

    def positions(self) -> npt.NDArray[np.float64]:
        """Joint positions (T, J, 3), in the file's unit and axes."""
        count = len(self.names)
        at = np.zeros((len(self.root_T3), count, 3))
        world = np.zeros((len(self.root_T3), count, 3, 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                at[:, joint], world[:, joint] = self.root_T3, self.rotation_TJ33[:, joint]
                continue
            at[:, joint] = at[:, parent] + world[:, parent] @ self.offset_J3[joint]
            world[:, joint] = world[:, parent] @ self.rotation_TJ33[:, joint]
        return at


def read_bvh(path: Path) -> BvhMotion:
    """Read a BVH file of any skeleton whose joints rotate by three channels."""
    words = path.read_text(encoding="ascii").split()
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_: list[int] = []
    end = words.index("MOTION")
    at = words.index("ROOT")
    while at < end:
        word = words[at]
        if word in ("ROOT", "JOINT"):
            parents.append(open_[-1] if open_ else -1)
            names.append(words[at + 1])
            open_.append(len(names) - 1)
            at += 3  # the name and the brace
        elif word == "OFFSET":
            offsets.append([float(value) for value in words[at + 1 : at + 4]])
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            channels.append(words[at + 2 : at + 2 + count])
            at += 2 + count
        elif word == "End":
            at = words.index("}", at) + 1
        elif word == "}":
            open_.pop()
            at += 1
        else:
            raise ValueError(f"unexpected {word!r} in the hierarchy")
    n_frames, frame_time = int(words[end + 2]), float(words[end + 5])
    width = sum(len(c) for c in channels)
    rows = np.array(words[end + 6 :], np.float64).reshape(n_frames, width)
    turns = np.empty((n_frames, len(names), 3, 3))
    root = np.zeros((n_frames, 3))
    column = 0
    for joint, kinds in enumerate(channels):
        values = rows[:, column : column + len(kinds)]
        column += len(kinds)
        axes = [i for i, kind in enumerate(kinds) if kind.endswith("rotation")]
        order = "".join(kinds[i][0] for i in axes)
        turns[:, joint] = Rotation.from_euler(order, values[:, axes], degrees=True).as_matrix()
        if joint == 0:
            for i, kind in enumerate(kinds):
                if kind.endswith("position"):
                    root[:, "XYZ".index(kind[0])] = values[:, i]
    return BvhMotion(
        names=tuple(names),
        parents=tuple(parents),
        offset_J3=np.array(offsets),
        rotation_TJ33=turns,
        root_T3=root,
        fps=1.0 / frame_time,
    )
