"""Target representations, each an encode and decode pair.

Heatmap and voxel coordinates are continuous: cell i spans [i, i + 1) and its centre lies at
i + 0.5, so that a crop coordinate maps onto them by scale alone.
"""

from hemlets.codecs.heatmaps import decode_heatmaps, encode_heatmaps
from hemlets.codecs.triplets import encode_triplets
from hemlets.codecs.volume import VolumeSpec, cell_centres, expectation, marginals, soft_argmax

__all__ = [
    "VolumeSpec",
    "cell_centres",
    "decode_heatmaps",
    "encode_heatmaps",
    "encode_triplets",
    "expectation",
    "marginals",
    "soft_argmax",
]
