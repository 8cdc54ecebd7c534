"""Render a shaded mesh over an image.

Image coordinates have their origin at the top-left corner of the top-left pixel, so pixel centres
are at +0.5. OpenCV rasterises; see `hemlets.body.raster`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hemlets.body.raster import (
    FAR_MM,
    Layer,
    Rasteriser,
    Rectangle,
    SquareCamera,
    vertex_normals,
)
from hemlets.inference.types import Camera

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.floating[Any]]
Colour = tuple[int, int, int]

SKIN: Final[Colour] = (172, 196, 232)
"""A blue that neither skin nor most clothes have."""

_SAMPLES: Final = 2
"""Samples per pixel in each direction."""

_NEAR_MM: Final = 110.0
"""Just beyond the rasteriser's near plane: triangles that cross it are left out."""

# Directions to the lights, from the person: next to the camera, and above its left shoulder.
_LIGHTS: Final = np.array([[0.0, -0.15, -1.0], [-0.8, -1.0, -0.5]])
_STRENGTHS: Final = np.array([0.45, 0.45], np.float32)
_AMBIENT: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class MeshImage:
    """A rendered mesh within its rectangle of the image.

    Attributes:
        size: Width and height of the whole image.
        where: The rectangle; None if the mesh is out of sight.
        rgb_HW3: Colours within the rectangle, premultiplied by the coverage.
        coverage_HW: The mesh's share of each pixel of the rectangle, 0–255.
        layer: The samples before averaging.
    """

    size: tuple[int, int]
    where: Rectangle | None
    rgb_HW3: Image
    coverage_HW: Image
    layer: Layer | None

    @cached_property
    def mask(self) -> Float32:
        """Return the mesh's share of each pixel of the whole image, (H, W), 0–1."""
        width, height = self.size
        mask = np.zeros((height, width), np.float32)
        if self.where is not None:
            mask[self.where.slices] = self.coverage_HW / np.float32(255)
        return mask

    @cached_property
    def depth_mm(self) -> Float32:
        """Return the nearest depth in each pixel, (H, W); `inf` without mesh."""
        width, height = self.size
        depth = np.full((height, width), np.inf, np.float32)
        if self.where is not None and self.layer is not None:
            scale = self.layer.scale
            rows, columns = self.where.height, self.where.width
            nearest = self.layer.depth_HW_mm.reshape(rows, scale, columns, scale).min((1, 3))
            depth[self.where.slices] = np.where(nearest < FAR_MM, nearest, np.inf)
        return depth


def render_mesh(
    vertices_mm_V3: FloatArray,
    faces_F3: npt.NDArray[np.integer[Any]],
    camera: Camera,
    size: tuple[int, int],
    *,
    colour: Colour = SKIN,
) -> MeshImage:
    """Render a mesh as the camera sees it, with smooth shading and soft edges.

    Triangles nearer than 11 cm to the camera, behind it, or seen from within are left out.

    Args:
        vertices_mm_V3: (V, 3) in the camera frame: x right, y down, z forward.
        faces_F3: (F, 3) vertex indices; (b − a) × (c − a) points outwards.
        camera: Intrinsics of the whole image.
        size: Width and height of the image, pixels.
        colour: RGB of the mesh in full light.
    """
    vertices = np.asarray(vertices_mm_V3, np.float32)
    faces = np.asarray(faces_F3, np.int32)
    in_front = vertices[:, 2] > _NEAR_MM
    drawn = faces[in_front[faces].all(1)]
    used = np.zeros(len(vertices), bool)
    used[drawn] = True
    where = _rectangle(vertices[used], camera, size)
    if where is None:
        return MeshImage(
            size=size,
            where=None,
            rgb_HW3=np.zeros((0, 0, 3), np.uint8),
            coverage_HW=np.zeros((0, 0), np.uint8),
            layer=None,
        )
    # The rasteriser has square pixels: fx ≠ fy is a stretch of x.
    stretched = vertices * np.array([camera.fx / camera.fy, 1.0, 1.0], np.float32)
    layer = Rasteriser(drawn).draw(
        SquareCamera(focal_px=camera.fy, centre_px=(camera.cx, camera.cy)),
        where,
        np.where(in_front[:, None], stretched, np.array([0.0, 0.0, 1e4], np.float32)),
        (_shade(vertices, faces, colour),),
        scale=_SAMPLES,
    )
    samples = cv2.convertScaleAbs(layer.values_HW3[0], alpha=255.0)
    covered = cv2.compare(layer.depth_HW_mm, FAR_MM, cv2.CMP_LT)
    shape = where.width, where.height
    rgb = cv2.resize(samples, shape, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(covered, shape, interpolation=cv2.INTER_AREA)
    return MeshImage(
        size=size,
        where=where,
        rgb_HW3=np.asarray(rgb, np.uint8),
        coverage_HW=np.asarray(coverage, np.uint8),
        layer=layer,
    )


def overlay(image_HW3: Image, mesh: MeshImage, *, alpha: float = 0.8) -> Image:
    """Blend a rendered mesh over an RGB uint8 image of its size; return a new image.

    Raises:
        ValueError: The sizes differ.
    """
    if image_HW3.shape[1::-1] != mesh.size:
        raise ValueError(f"the image is {image_HW3.shape[1::-1]}, the mesh {mesh.size}")
    result: Image = image_HW3.copy()
    if mesh.where is not None:
        behind = result[mesh.where.slices]
        seen_through = cv2.convertScaleAbs(mesh.coverage_HW, alpha=-alpha, beta=255.0)
        dimmed = cv2.multiply(behind, cv2.merge([seen_through] * 3), scale=1 / 255)
        behind[:] = cv2.addWeighted(dimmed, 1.0, mesh.rgb_HW3, alpha, 0.0)
    return result


def turn_to_side(points_mm: FloatArray, pivot_mm: FloatArray) -> npt.NDArray[np.float64]:
    """Rotate points (..., 3) of the camera frame by 90° about the vertical through a pivot (3,).

    Farther points move to the right, as seen from the camera's right-hand side.
    """
    pivot = np.asarray(pivot_mm, np.float64)
    x, y, z = np.moveaxis(np.asarray(points_mm, np.float64) - pivot, -1, 0)
    return np.stack([z, y, -x], -1) + pivot


def second_view(
    vertices_mm_V3: FloatArray,
    faces_F3: npt.NDArray[np.integer[Any]],
    camera: Camera,
    size: tuple[int, int],
    pivot_mm: FloatArray,
    *,
    colour: Colour = SKIN,
) -> MeshImage:
    """Render the body from the side: rotated by 90° about the vertical through a pivot.

    Arguments as for :func:`render_mesh`; ``pivot_mm`` (3,) is the pelvis.
    """
    return render_mesh(
        turn_to_side(vertices_mm_V3, pivot_mm), faces_F3, camera, size, colour=colour
    )


def _rectangle(points_mm: Float32, camera: Camera, size: tuple[int, int]) -> Rectangle | None:
    """Return the pixels within the image that the points may fall into."""
    if not len(points_mm):
        return None
    slopes = points_mm[:, :2].astype(np.float64) / points_mm[:, 2:]
    pixels = slopes * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    low = np.maximum(np.floor(pixels.min(0)) - 1, 0)
    high = np.minimum(np.ceil(pixels.max(0)) + 1, size)
    if not (low < high).all():
        return None
    return Rectangle(left=int(low[0]), top=int(low[1]), right=int(high[0]), bottom=int(high[1]))


def _shade(vertices_V3: Float32, faces_F3: npt.NDArray[np.int32], colour: Colour) -> Float32:
    """Compute the colour of each vertex, (V, 3) within 0–1."""
    normals = vertex_normals(vertices_V3, faces_F3)
    directions = _LIGHTS / np.linalg.norm(_LIGHTS, axis=1, keepdims=True)
    light = _AMBIENT + np.maximum(normals @ directions.T.astype(np.float32), 0.0) @ _STRENGTHS
    shaded = np.minimum(light[:, None] * (np.array(colour, np.float32) / 255.0), 1.0)
    return np.asarray(shaded, np.float32)
