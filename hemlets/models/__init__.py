"""Networks: backbone, pose stage, shape stage and the two joined."""

from hemlets.models.pose import DecodedVolume, PoseNetwork, PoseNetworkConfig, PoseOutput
from hemlets.models.posh import HemletsPosh, PoshOutput
from hemlets.models.shape import ShapeNetwork, ShapeNetworkConfig, ShapeOutput

__all__ = [
    "DecodedVolume",
    "HemletsPosh",
    "PoseNetwork",
    "PoseNetworkConfig",
    "PoseOutput",
    "PoshOutput",
    "ShapeNetwork",
    "ShapeNetworkConfig",
    "ShapeOutput",
]
