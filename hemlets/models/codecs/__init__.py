"""Target representations, each an encode and decode pair.

Heatmap and voxel coordinates are continuous: cell i spans [i, i + 1) with its centre at i + 0.5, so
crop coordinates convert by scale alone.
"""

from hemlets.models.codecs.confidence import PERSON_STATISTIC, person_confidence
from hemlets.models.codecs.heatmaps import encode_heatmaps
from hemlets.models.codecs.triplets import States, encode_triplets, known_layers, layers, steepness
from hemlets.models.codecs.view import crop_views, from_view, into_view
from hemlets.models.codecs.volume import VolumeSpec, cell_centres, expectation, marginals

__all__ = [
    "PERSON_STATISTIC",
    "States",
    "VolumeSpec",
    "cell_centres",
    "crop_views",
    "encode_heatmaps",
    "encode_triplets",
    "expectation",
    "from_view",
    "into_view",
    "known_layers",
    "layers",
    "marginals",
    "person_confidence",
    "steepness",
]
