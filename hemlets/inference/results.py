"""Results for one photograph: predictions, drawings and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from hemlets.core.files import atomic_path, write_json
from hemlets.inference.images import Image
from hemlets.inference.outputs import remove_earlier, stem_of_image
from hemlets.inference.types import BodyEstimate, Box, Camera

if TYPE_CHECKING:
    from hemlets.body import BodyModel
    from hemlets.body.placement import PlacedBody
    from hemlets.inference.people import Detection

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """A predicted person. Camera frame: x right, y down, z forward, millimetres.

    Attributes:
        estimate: The prediction.
        body_model: Body model of θ and β.
        detection: Detection of the person.
    """

    estimate: BodyEstimate
    body_model: BodyModel
    detection: Detection

    @cached_property
    def body(self) -> PlacedBody:
        """Posed body in the camera frame, computed at first use."""
        from hemlets.body.placement import place_body

        estimate = self.estimate
        return place_body(self.body_model, estimate.theta, estimate.betas, estimate.root_mm)

    @property
    def joints2d_px(self) -> Float:
        """(18, 2) in the image, in the order of `hemlets.core.skeleton.JOINTS`."""
        return self.estimate.joints2d_px

    @property
    def joints3d_mm(self) -> Float:
        """(18, 3) relative to the pelvis."""
        return self.estimate.joints3d_mm

    @property
    def pelvis_mm(self) -> Float:
        """(3,) pelvis in the camera frame."""
        return self.estimate.root_mm

    @property
    def vertices_mm(self) -> Float:
        """(V, 3) skin vertices in the camera frame; `body.faces_F3` are the triangles."""
        return self.body.vertices_V3_mm

    @property
    def theta(self) -> Float:
        """(24, 3) SMPL θ as axis-angles, radians."""
        return self.estimate.theta

    @property
    def betas(self) -> Float:
        """(10,) SMPL β."""
        return self.estimate.betas

    @property
    def box_xyxy(self) -> Box:
        """Left, top, right, bottom in pixels."""
        return self.estimate.box_xyxy

    @property
    def confidence(self) -> float:
        """Confidence that there is a person, 0–1: the model's, otherwise the detector's."""
        sure = self.estimate.person_confidence
        return self.detection.score if np.isnan(sure) else sure

    @property
    def joint_confidence(self) -> Float:
        """(18,) in 0–1; NaN from a network without heatmaps."""
        return self.estimate.confidence

    def to_json(self) -> dict[str, Any]:
        """The estimate's JSON with the detector's score and the body's translation.

        ``transl_mm`` translates the body model's output into the camera frame.
        """
        return self.estimate.to_json() | {
            "detection_score": self.detection.score,
            "transl_mm": self.body.transl_mm.astype(float).tolist(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class People(Sequence[Person]):
    """People in one photograph, largest first; may be empty.

    Attributes:
        image_HW3: RGB.
        name: The photograph's file name.
        camera: The camera that was used.
        model_version: Version of the model.
        persons: The people.
    """

    image_HW3: Image
    name: str
    camera: Camera
    model_version: str
    persons: tuple[Person, ...]

    @overload
    def __getitem__(self, index: int) -> Person: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Person, ...]: ...

    def __getitem__(self, index: int | slice) -> Person | tuple[Person, ...]:
        return self.persons[index]

    def __len__(self) -> int:
        return len(self.persons)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: image, camera and people."""
        height, width = self.image_HW3.shape[:2]
        camera = self.camera
        return {
            "image": {"name": self.name, "width": width, "height": height},
            "camera_px": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
            "people": [person.to_json() for person in self.persons],
            "model_version": self.model_version,
        }

    def json_line(self) -> str:
        """JSON on one line."""
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)

    def plot(self) -> Image:
        """Draw the people on the photograph, RGB; a single person also from the side."""
        from hemlets.reports.drawing import people_picture

        return people_picture(self.image_HW3, [(p.estimate, p.body) for p in self.persons])

    def save(
        self,
        folder: str | Path,
        name: str | None = None,
        *,
        picture: bool = True,
        page: bool = False,
        mesh_suffix: str | None = None,
    ) -> list[Path]:
        """Write ``NAME.json`` and the requested files, each atomically.

        Args:
            folder: Target folder.
            name: Prefix of the file names; the photograph's name by default, numbered if the
                folder has results of another photograph of the name.
            picture: Whether to draw ``NAME.overlay.png``.
            page: Whether to write the 3D page ``NAME.html``, if there are people.
            mesh_suffix: ``.glb``, ``.obj`` or ``.ply`` to write meshes, or None. Several people
                have files ``NAME.personN``.

        Returns:
            Written files.

        Raises:
            WorkspaceError: The folder can't be written to.
        """
        target = Path(folder)
        own = stem_of_image(target, self.name, self.image_HW3) if name is None else name
        stem = target / own
        remove_earlier(stem.parent, stem.name)
        written = [_with(stem, ".json")]
        write_json(written[0], self.to_json())
        if picture:
            from hemlets.reports.drawing import png

            written.append(_with(stem, ".overlay.png"))
            with atomic_path(written[-1]) as scratch:
                scratch.write_bytes(png(self.plot()))
        if page and self.persons:
            from hemlets.reports.drawing import prediction_page

            written.append(_with(stem, ".html"))
            text = prediction_page(
                [(p.estimate, p.body) for p in self.persons],
                title=self.name,
                image_HW3=self.image_HW3,
            )
            with atomic_path(written[-1]) as scratch:
                scratch.write_text(text, encoding="utf-8")
        if mesh_suffix is not None:
            from hemlets.body.export import export_mesh

            for number, person in enumerate(self.persons):
                label = f".person{number}" if len(self.persons) > 1 else ""
                written.append(_with(stem, f"{label}{mesh_suffix}"))
                export_mesh(written[-1], person.vertices_mm, person.body.faces_F3)
        return written


def _with(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
