"""Write meshes for other programs: GLB, OBJ and PLY, in metres.

The formats' frame is right-handed with y up and z towards the viewer, so a mesh in the camera
frame (y down, z forward) is rotated by 180° about x. Formats: glTF 2.0 (Khronos), Wavefront OBJ,
and binary PLY 1.0.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hemlets.core.arrays import Float32, Floating, Integers
from hemlets.core.errors import ConfigError
from hemlets.core.files import write_bytes

MESH_SUFFIXES: Final = (".glb", ".obj", ".ply")

_MM_PER_M: Final = 1000.0
_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963

UInt32 = npt.NDArray[np.uint32]


def export_mesh(
    path: Path,
    vertices_V3_mm: Floating,
    faces_F3: Integers,
    *,
    camera_frame: bool = True,
) -> None:
    """Write a mesh in the format of the file's suffix.

    Args:
        path: Ends in ``.glb``, ``.obj`` or ``.ply``.
        vertices_V3_mm: (V, 3), millimetres.
        faces_F3: (F, 3), counter-clockwise from outside.
        camera_frame: Whether the vertices are in the camera frame; False for the body model's own
            axes, which are the file's.

    Raises:
        ConfigError: Another suffix.
        WorkspaceError: The file can't be written.
    """
    write = {".glb": _glb, ".obj": _obj, ".ply": _ply}.get(path.suffix.lower())
    if write is None:
        raise ConfigError(
            f"meshes can't be written as {path.suffix or 'a file without ending'}",
            where=str(path),
            expected=", ".join(MESH_SUFFIXES),
        )
    vertices = np.asarray(vertices_V3_mm, np.float64) / _MM_PER_M
    if camera_frame:
        vertices = vertices * [1.0, -1.0, -1.0]
    data = write(vertices.astype("<f4"), np.asarray(faces_F3).astype("<u4"))
    write_bytes(path, data)


def _obj(vertices_V3: Float32, faces_F3: UInt32) -> bytes:
    lines = ["# metres, y up, z towards the viewer", "o body"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices_V3]
    lines += [f"f {a} {b} {c}" for a, b, c in faces_F3 + 1]
    return ("\n".join(lines) + "\n").encode("ascii")


def _ply(vertices_V3: Float32, faces_F3: UInt32) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment metres, y up, z towards the viewer\n"
        f"element vertex {len(vertices_V3)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces_F3)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces_F3), [("n", "u1"), ("f", "<i4", 3)])
    rows["n"], rows["f"] = 3, faces_F3
    return header.encode("ascii") + vertices_V3.tobytes() + rows.tobytes()


def _glb(vertices_V3: Float32, faces_F3: UInt32) -> bytes:
    normals = _normals(vertices_V3, faces_F3)
    blobs = [vertices_V3.tobytes(), normals.tobytes(), faces_F3.tobytes()]
    offsets = np.cumsum([0, *map(len, blobs)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": offset, "byteLength": len(blob), "target": target}
        for offset, blob, target in zip(
            offsets, blobs, (_VERTICES, _VERTICES, _INDICES), strict=False
        )
    ]
    n_vertices = len(vertices_V3)
    document = {
        "asset": {"version": "2.0", "generator": "hemlets"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "body"}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2, "material": 0}
                ]
            }
        ],
        "materials": [
            {
                "pbrMetallicRoughness": {
                    "baseColorFactor": [0.67, 0.77, 0.91, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.8,
                }
            }
        ],
        "buffers": [{"byteLength": offsets[-1]}],
        "bufferViews": views,
        "accessors": [
            {
                "bufferView": 0,
                "componentType": _FLOAT,
                "count": n_vertices,
                "type": "VEC3",
                "min": vertices_V3.min(0).astype(float).tolist(),
                "max": vertices_V3.max(0).astype(float).tolist(),
            },
            {"bufferView": 1, "componentType": _FLOAT, "count": n_vertices, "type": "VEC3"},
            {
                "bufferView": 2,
                "componentType": _UNSIGNED,
                "count": int(faces_F3.size),
                "type": "SCALAR",
            },
        ],
    }
    text = json.dumps(document, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 4)
    binary = b"".join(blobs)
    length = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sII", b"glTF", 2, length)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(binary), b"BIN\0")
        + binary
    )


def _normals(vertices_V3: Float32, faces_F3: UInt32) -> Float32:
    a, b, c = vertices_V3[faces_F3].astype(np.float64).transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    summed = np.zeros(vertices_V3.shape)
    np.add.at(summed, faces_F3.reshape(-1), np.repeat(face, 3, axis=0))
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    # glTF requires unit normals, also of a vertex without triangles of any size.
    unit = np.where(length > 0, summed / np.maximum(length, 1e-30), [0.0, 0.0, 1.0])
    return unit.astype("<f4")
