"""HEMlets PoSh: part-centric heatmap triplets for 3D human pose and shape.

The package holds the model code alone. Orchestration, tracking, validation and serving live
in the sibling packages ``flows``, ``data_checks`` and ``serving``, which import this one.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
