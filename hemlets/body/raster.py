"""Rasterise a mesh's pixels, depths and interpolated values with OpenCV, supersampled.

A mesh is rasterised into its own rectangle of the image, with any values at its vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from hemlets.core.arrays import Float, Float32, Floating, Integers

FAR_MM: Final = 50_000.0
"""Depth of an empty pixel."""

_NEAR_MM: Final = 100.0


@dataclass(frozen=True, kw_only=True)
class SquareCamera:
    """A pinhole camera with square pixels, whose centres lie at +0.5."""

    focal_px: float
    centre_px: tuple[float, float]

    def project(self, points_cam_mm: Floating) -> Float:
        """Image coordinates (..., 2) of points (..., 3) in front of the camera."""
        points = np.asarray(points_cam_mm, np.float64)
        slopes = points[..., :2] / points[..., 2:]
        return np.asarray(self.focal_px * slopes + np.array(self.centre_px))


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Whole pixels of the image: left and top inclusive, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an image (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @classmethod
    def around(cls, points_px: Floating, side: int, *, margin: int = 1) -> Rectangle:
        """Return the pixels around image points (N, 2) within a square image; at least one."""
        low = np.clip(np.floor(points_px.min(0)).astype(int) - margin, 0, side - 1)
        high = np.clip(np.ceil(points_px.max(0)).astype(int) + margin, low + 1, side)
        return cls(left=int(low[0]), top=int(low[1]), right=int(high[0]), bottom=int(high[1]))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Rasterised values in a rectangle, each pixel split into ``scale``² samples.

    Attributes:
        where: The rectangle in pixels of the image.
        scale: Samples per pixel in each direction.
        depth_HW_mm: Depth of each sample; `FAR_MM` where empty.
        values_HW3: Interpolated arrays of vertex values.
    """

    where: Rectangle
    scale: int
    depth_HW_mm: Float32
    values_HW3: tuple[Float32, ...]

    def depth_at(self, points_px: Floating) -> Float:
        """Return depths at image points (N, 2), millimetres; `FAR_MM` outside."""
        origin = np.array([self.where.left, self.where.top])
        column, row = np.floor((points_px - origin) * self.scale).astype(int).T
        height, width = self.depth_HW_mm.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        depth = np.full(len(points_px), FAR_MM)
        depth[inside] = self.depth_HW_mm[row[inside], column[inside]]
        return depth


class Rasteriser:
    """Rasterises meshes of one topology.

    Args:
        faces_F3: Vertex indices of the triangles, counter-clockwise as seen from outside. Faces
            that turn away from the camera are culled.
    """

    def __init__(self, faces_F3: Integers) -> None:
        self._indices = np.ascontiguousarray(faces_F3, dtype=np.int32)[:, None]
        self._settings = cv2.TriangleRasterizeSettings()
        self._settings.setCullingMode(cv2.RASTERIZE_CULLING_CW)
        self._settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)

    def draw(
        self,
        camera: SquareCamera,
        where: Rectangle,
        vertices_cam_mm: Floating,
        values_V3: tuple[Floating, ...],
        *,
        scale: int,
    ) -> Layer:
        """Rasterise a mesh into a rectangle of the image.

        Args:
            camera: The camera of the whole image.
            where: The rectangle to fill.
            vertices_cam_mm: (V, 3) in the camera frame.
            values_V3: Vertex values to interpolate, each (V, 3) within 0–1.
            scale: Samples a pixel in each direction.
        """
        height, width = where.height * scale, where.width * scale
        # The rasteriser's principal point is the middle of its buffer. Shearing x and y by the
        # depth moves it anywhere else without touching depth or projection.
        middle = np.array([where.left + where.right, where.top + where.bottom]) / 2.0
        shear = (np.array(camera.centre_px) - middle) / camera.focal_px
        eye = np.empty((len(vertices_cam_mm), 3), np.float32)
        eye[:, :2] = vertices_cam_mm[:, :2] + shear * vertices_cam_mm[:, 2:]
        eye[:, 2] = vertices_cam_mm[:, 2]
        eye[:, 1:] *= -1.0  # its frame is OpenGL's: y up, z towards the viewer
        field_of_view = 2.0 * np.arctan(where.height / (2.0 * camera.focal_px))
        world_to_camera = np.eye(4, dtype=np.float32)
        depth = np.full((height, width), FAR_MM, np.float32)
        layers = []
        for number, values in enumerate(values_V3):
            colours = np.ascontiguousarray(values, np.float32)[:, None]
            image = np.zeros((height, width, 3), np.float32)
            buffer = depth if number == 0 else np.full((height, width), FAR_MM, np.float32)
            cv2.triangleRasterize(
                eye[:, None], self._indices, colours, image, buffer, world_to_camera,
                field_of_view, _NEAR_MM, FAR_MM, self._settings,
            )  # fmt: skip
            layers.append(image)
        return Layer(where=where, scale=scale, depth_HW_mm=depth, values_HW3=tuple(layers))


def vertex_normals(vertices_V3: Floating, faces_F3: Integers) -> Float32:
    """Compute outward unit normals (V, 3), weighted by face areas."""
    corner = vertices_V3[faces_F3]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    summed_3V = np.zeros((3, len(vertices_V3)), vertices_V3.dtype)
    for axis, (second, third) in enumerate(((1, 2), (2, 0), (0, 1))):
        across_F = a[:, second] * b[:, third] - a[:, third] * b[:, second]
        np.add.at(summed_3V[axis], faces_F3.reshape(-1), np.repeat(across_F, 3))
    summed_V3 = np.ascontiguousarray(summed_3V.T)
    length = np.sqrt((summed_V3 * summed_V3).sum(1, keepdims=True))
    return np.asarray(summed_V3 / np.maximum(length, 1e-12), np.float32)
