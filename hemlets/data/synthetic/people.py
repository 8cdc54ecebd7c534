"""Render one person or empty scene: a function of configuration, split and index.

Bodies are posed in blocks of `BLOCK` consecutive samples, which is faster. Because a matrix product
may round differently in another batch, blocks are always complete and start at multiples of
`BLOCK`: a sample's bytes depend neither on other requested samples nor on the size of the shards.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hemlets.body.raster import (
    FAR_MM,
    Layer,
    Rasteriser,
    Rectangle,
    SquareCamera,
    vertex_normals,
)
from hemlets.core.arrays import Float, Float32, Image, Int32
from hemlets.core.skeleton import N_JOINTS, N_PARTS, Joint, depth_relations
from hemlets.data.synthetic.appearance import Landmarks, draw_look
from hemlets.data.synthetic.backdrop import draw_background, draw_effects, draw_occluders
from hemlets.data.synthetic.camera import draw_view, frame_person
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.light import MAX_LIGHT, draw_lights
from hemlets.data.synthetic.poses import MotionLibrary, Pose, draw_pose
from hemlets.data.table import ALL_SPLITS, encode_jpeg

if TYPE_CHECKING:
    from hemlets.body.model import BodyModel

BLOCK: Final = 64
SOURCE: Final = "open-rendered"

_MOST_HIDDEN: Final = 0.6
"""Largest share of the person that occluders may hide; larger occluders are left out."""

# How far a joint lies below the skin in front of it, at most, millimetres: half the thickness
# of the body there, in its wider direction. Skin farther in front belongs to another part.
_DEPTH_BELOW_SKIN_MM = np.full(N_JOINTS, 110.0)
_DEPTH_BELOW_SKIN_MM[[Joint.PELVIS, Joint.SPINE, Joint.THORAX]] = 200.0
_DEPTH_BELOW_SKIN_MM[[Joint.RIGHT_HIP, Joint.LEFT_HIP]] = 180.0
_DEPTH_BELOW_SKIN_MM[[Joint.NECK, Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER]] = 140.0
_DEPTH_BELOW_SKIN_MM[[Joint.LEFT_WRIST, Joint.RIGHT_WRIST, Joint.NOSE]] = 70.0


@dataclass(frozen=True, kw_only=True)
class RenderedPerson:
    """An image with one person, or an empty scene, with its annotations.

    Units and frames are those of `hemlets.data.table.table`.

    Attributes:
        image: RGB (S, S, 3) before compression.
        jpeg: The image's stored bytes.
        row: Annotations by field name, without shard and shard row.
    """

    image: Image
    jpeg: bytes
    row: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Posed:
    """A posed person in view. ``rng`` has drawn all numbers that posing needs."""

    rng: np.random.Generator
    index: int
    pose: Pose
    theta_J3: Float32
    betas: Float32
    transl_mm: Float32
    vertices_V3_mm: Float32
    joints_J3_mm: Float32


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch and OpenCV on one thread: sums over several may round differently."""
    import torch

    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv_threads)


class Studio:
    """Renders the people of one configuration.

    Args:
        config: What to render.
        library: Motion clips by split.
        body: The body model; the size of its mesh determines the speed.
    """

    def __init__(self, config: OpenDataConfig, library: MotionLibrary, body: BodyModel) -> None:
        self.config = config
        self.library = library
        self.body = body
        self._faces = _wound_outwards(body)
        self._rasteriser = Rasteriser(self._faces)
        template = body.v_template_V3.numpy()
        rest_joints = (body.J_regressor_JV @ body.v_template_V3).numpy()
        self._marks = Landmarks.of_template(template, rest_joints)
        self._low = template.min(0)
        self._span = np.ptp(template, axis=0)
        self._template_unit = ((template - self._low) / self._span).astype(np.float32)
        self._block_key: tuple[str, int] | None = None
        self._block: list[_Posed] = []

    def person(self, split: str, index: int) -> RenderedPerson:
        """Render one sample. Consecutive calls within a block share its posing."""
        with one_thread():
            return self._render(split, *self._posed(split, index))

    def scene(self, split: str, index: int) -> RenderedPerson:
        """Render a scene without a person, with the box of a person who is posed but not drawn.

        Objects in front of and behind people are drawn too. Nothing is annotated.
        """
        with one_thread():
            return self._render_scene(split, *self._posed(split, index))

    def _posed(self, split: str, index: int) -> tuple[_Posed, np.random.Generator]:
        """Return a posed person in view, with the random generator for rendering."""
        key = split, index // BLOCK
        if key != self._block_key:
            self._block = self._pose_block(*key)
            self._block_key = key
        # A copy of the generator: rendering a sample again gives the same image.
        posed = self._block[index % BLOCK]
        rng = np.random.Generator(np.random.PCG64())
        rng.bit_generator.state = posed.rng.bit_generator.state
        return posed, rng

    def _pose_block(self, split: str, block: int) -> list[_Posed]:
        import torch

        config = self.config
        indices = range(block * BLOCK, (block + 1) * BLOCK)
        split_number = ALL_SPLITS.index(split)
        motion = split.removesuffix("-background")
        rngs = [np.random.default_rng([config.seed, split_number, i]) for i in indices]
        poses = [draw_pose(rng, self.library, motion, config) for rng in rngs]
        views = [draw_view(rng, config) for rng in rngs]
        betas = np.stack([rng.standard_normal(10) * config.shape_std for rng in rngs])
        theta = np.stack([pose.theta_J3 for pose in poses])
        turns = Rotation.concatenate([view.rotation for view in views])
        theta[:, 0] = (turns * Rotation.from_rotvec(theta[:, 0])).as_rotvec()
        theta_BJ3, betas_BK = theta.astype(np.float32), betas.astype(np.float32)
        with torch.no_grad():
            body = self.body(torch.from_numpy(theta_BJ3), torch.from_numpy(betas_BK))
        vertices = body.vertices_BV3_mm.contiguous().numpy()
        joints = body.joints18_B183_mm.numpy()
        middles = (vertices.min(1) + vertices.max(1)) / 2.0
        transl = (np.stack([view.target_mm for view in views]) - middles).astype(np.float32)
        vertices = vertices + transl[:, None]
        joints = joints + transl[:, None]
        return [
            _Posed(
                rng=rngs[i], index=index, pose=poses[i], theta_J3=theta_BJ3[i],
                betas=betas_BK[i], transl_mm=transl[i], vertices_V3_mm=vertices[i],
                joints_J3_mm=joints[i],
            )
            for i, index in enumerate(indices)
        ]  # fmt: skip

    def _render(self, split: str, posed: _Posed, rng: np.random.Generator) -> RenderedPerson:
        config, side = self.config, self.config.image_px
        camera = frame_person(rng, config, posed.vertices_V3_mm, posed.joints_J3_mm)
        outline = camera.project(posed.vertices_V3_mm)
        box = np.concatenate([outline.min(0), outline.max(0)]).clip(0.0, side)
        image = draw_background(rng, side, config.clutter_probability)
        layer = self._draw_body(rng, camera, posed, Rectangle.around(outline, side))
        coverage = _compose(image, layer)
        cover = np.zeros((side, side), np.uint8)
        if rng.random() < config.occluder_probability:
            hidden, objects = draw_occluders(rng, image, box)
            shown = coverage > 0.5
            if (objects[layer.where.slices][shown] > 127).mean() <= _MOST_HIDDEN:
                image, cover = hidden, objects
        effects = draw_effects(rng, config.jpeg_quality)
        image = effects.apply(image)
        jpeg = encode_jpeg(image, quality=effects.jpeg_quality)
        mask = np.zeros((side, side), np.uint8)
        mask[layer.where.slices] = 255 * (coverage > 0.5)
        mask[cover > 127] = 0
        row = self._row(split, posed, camera, box)
        row |= _seen(camera, posed.joints_J3_mm, layer, cover)
        row["image_hash"] = hashlib.sha256(jpeg).hexdigest()
        row["mask"] = _encode_mask(mask)
        return RenderedPerson(image=image, jpeg=jpeg, row=row)

    def _render_scene(self, split: str, posed: _Posed, rng: np.random.Generator) -> RenderedPerson:
        config, side = self.config, self.config.image_px
        camera = frame_person(rng, config, posed.vertices_V3_mm, posed.joints_J3_mm)
        outline = camera.project(posed.vertices_V3_mm)
        box = np.concatenate([outline.min(0), outline.max(0)]).clip(0.0, side)
        image = draw_background(rng, side, config.clutter_probability)
        if rng.random() < config.occluder_probability:
            image, _ = draw_occluders(rng, image, box)
        effects = draw_effects(rng, config.jpeg_quality)
        image = effects.apply(image)
        jpeg = encode_jpeg(image, quality=effects.jpeg_quality)
        row = _unknown_row() | {
            "sample_id": f"open-{split}-{posed.index:06d}",
            "source": SOURCE,
            "split": split,
            "image_width": side,
            "image_height": side,
            "box_xyxy": box.astype(np.float32),
            "box_source": "mesh",
            "image_hash": hashlib.sha256(jpeg).hexdigest(),
        }
        return RenderedPerson(image=image, jpeg=jpeg, row=row)

    def _draw_body(
        self, rng: np.random.Generator, camera: SquareCamera, posed: _Posed, where: Rectangle
    ) -> Layer:
        """Rasterise and paint the body: colours, black outside of it.

        The mesh is drawn with rest-pose positions in place of colours, which `appearance` converts
        to skin and clothes per pixel, and with the light at each vertex. So a coarse mesh gets
        sharp patterns.
        """
        look, lights = draw_look(rng, self._marks), draw_lights(rng)
        normals = vertex_normals(posed.vertices_V3_mm, self._faces)
        light = lights.on(normals) / MAX_LIGHT
        layer = self._rasteriser.draw(
            camera, where, posed.vertices_V3_mm, (self._template_unit, light),
            scale=self.config.supersampling,
        )  # fmt: skip
        body = np.flatnonzero(layer.depth_HW_mm < FAR_MM)
        template, lit = (values.reshape(-1, 3).take(body, 0) for values in layer.values_HW3)
        albedo = look.paint(template * self._span + self._low)
        colours = np.zeros((*layer.depth_HW_mm.shape, 3), np.float32)
        colours.reshape(-1, 3)[body] = np.minimum(albedo * (lit * np.float32(MAX_LIGHT)), 1.0)
        return Layer(
            where=where, scale=layer.scale, depth_HW_mm=layer.depth_HW_mm, values_HW3=(colours,)
        )

    def _row(self, split: str, posed: _Posed, camera: SquareCamera, box: Float) -> dict[str, Any]:
        side = self.config.image_px
        relations, relations_valid = depth_relations(posed.joints_J3_mm)
        return {
            "sample_id": f"open-{split}-{posed.index:06d}",
            "source": SOURCE,
            "split": split,
            "subject": f"body-{hashlib.sha256(posed.betas.tobytes()).hexdigest()[:12]}",
            "clip": posed.pose.clip,
            "family": posed.pose.family,
            "frame": posed.pose.frame,
            "image_width": side,
            "image_height": side,
            "box_xyxy": box.astype(np.float32),
            "box_source": "mesh",
            "joints2d_px": camera.project(posed.joints_J3_mm).astype(np.float32),
            "joints3d_mm": posed.joints_J3_mm,
            "valid2d": np.ones(N_JOINTS, bool),
            "valid3d": np.ones(N_JOINTS, bool),
            "camera": np.array([camera.focal_px, camera.focal_px, *camera.centre_px], np.float32),
            "camera_valid": True,
            "relations": relations,
            "relations_valid": relations_valid,
            "relations_source": "3d",
            "gender": "neutral",
            "theta": posed.theta_J3,
            "betas": posed.betas,
            "transl_mm": posed.transl_mm,
            "smpl_valid": True,
            "transl_valid": True,
        }


def _unknown_row() -> dict[str, Any]:
    """Return the values of a row without annotations."""
    nothing = np.zeros(N_JOINTS, bool)
    return {
        "subject": "",
        "clip": "",
        "family": "",
        "frame": 0,
        "joints2d_px": np.zeros((N_JOINTS, 2), np.float32),
        "joints3d_mm": np.zeros((N_JOINTS, 3), np.float32),
        "valid2d": nothing,
        "valid3d": nothing,
        "visible": nothing,
        "truncated": nothing,
        "camera": np.zeros(4, np.float32),
        "camera_valid": False,
        "relations": np.zeros(N_PARTS, np.int8),
        "relations_valid": np.zeros(N_PARTS, bool),
        "theta": np.zeros((24, 3), np.float32),
        "betas": np.zeros(10, np.float32),
        "transl_mm": np.zeros(3, np.float32),
        "smpl_valid": False,
        "transl_valid": False,
        "mask": b"",
    }


def _wound_outwards(body: BodyModel) -> Int32:
    """Return the body's triangles (F, 3), counter-clockwise as seen from outside."""
    faces = body.faces_F3.numpy().astype(np.int32)
    a, b, c = body.v_template_V3.numpy().astype(np.float64)[faces].transpose(1, 0, 2)
    volume = (a * np.cross(b, c)).sum()
    return faces if volume > 0 else faces[:, ::-1].copy()


def _compose(image: Image, layer: Layer) -> Float32:
    """Draw the person over the image, in place.

    Returns:
        The person's share of each pixel of the layer's rectangle, 0–1.
    """
    size = layer.where.width, layer.where.height
    alpha = (layer.depth_HW_mm < FAR_MM).astype(np.float32)
    coverage = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    person = cv2.resize(layer.values_HW3[0], size, interpolation=cv2.INTER_AREA)
    behind = image[layer.where.slices]
    behind[:] = (255.0 * person + (1.0 - coverage[..., None]) * behind + 0.5).astype(np.uint8)
    return np.asarray(coverage, np.float32)


def _seen(
    camera: SquareCamera, joints_J3_mm: Float32, layer: Layer, cover: Image
) -> dict[str, Any]:
    """Return masks of joints outside the image and of visible joints."""
    side = len(cover)
    points = camera.project(joints_J3_mm)
    inside = ((points >= 0.0) & (points < side)).all(-1)
    skin_mm = layer.depth_at(points)
    in_front = joints_J3_mm[:, 2] <= skin_mm + _DEPTH_BELOW_SKIN_MM
    column, row = np.floor(np.clip(points, 0, side - 1)).astype(int).T
    return {"truncated": ~inside, "visible": inside & in_front & (cover[row, column] <= 127)}


def _encode_mask(mask_HW: Image) -> bytes:
    _, buffer = cv2.imencode(".png", mask_HW, [cv2.IMWRITE_PNG_BILEVEL, 1])
    return bytes(buffer)


def render_person(
    config: OpenDataConfig, library: MotionLibrary, body: BodyModel, split: str, index: int
) -> RenderedPerson:
    """Render one sample: the same bytes as in any data version of this configuration.

    Use one `Studio` to render many.
    """
    return Studio(config, library, body).person(split, index)
