"""Types of arrays by their elements; names of variables carry the shapes: ``joints_BJ3``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Floating = npt.NDArray[np.floating]
Image = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer]
Objects = npt.NDArray[np.object_]
