"""The paper's losses, equations (3) to (11).

Each is summed over channels, pixels, joints and axes as the paper has it, and divided by the
number of samples in the batch by its caller.
"""

from hemlets.models.losses.pose import heatmap_loss, hemlets_loss, joint_loss, marginal_loss
from hemlets.models.losses.shape import betas_loss, rotation_loss

__all__ = [
    "betas_loss",
    "heatmap_loss",
    "hemlets_loss",
    "joint_loss",
    "marginal_loss",
    "rotation_loss",
]
