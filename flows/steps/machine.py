"""Describe the machine, as part of cache keys."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any


@cache
def machine() -> dict[str, Any]:
    """Properties of the machine that can change the bits of a result."""
    import torch

    packages = ("numpy", "opencv-python-headless", "pyarrow", "scipy", "torch", "torchserve")
    return {
        "isa": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in packages},
    }
