"""Find datasets by name. Their modules are imported on demand."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

from hemlets.core.errors import ConfigError
from hemlets.data.readers.contract import Dataset

_ENTRIES: Final = (
    "human36m:DATASET",
    "humaneva:DATASET",
    "mpi_inf_3dhp:DATASET",
    "threedpw:DATASET",
    "surreal:DATASET",
    "up3d:DATASET",
    "spin_npz:DATASET",
    "amass:DATASET",
    "mpii:DATASET",
    "lsp:LSP_DATASET",
    "lsp:LSPET_DATASET",
    "coco:DATASET",
    "ordinal:DATASET",
    "fbi:DATASET",
    "open_rendered:DATASET",
)


@cache
def datasets() -> tuple[Dataset, ...]:
    """Return every dataset that can be read, those with 3D first."""
    found = []
    for entry in _ENTRIES:
        module, attribute = entry.split(":")
        dataset = getattr(import_module(f"hemlets.data.readers.{module}"), attribute)
        assert isinstance(dataset, Dataset)
        found.append(dataset)
    return tuple(found)


def find(name: str) -> Dataset:
    """Find a dataset by its name, without regard to case, ``-`` and ``_``.

    Raises:
        ConfigError: There is none; the message lists the names.
    """
    wanted = name.strip().lower().replace("-", "_")
    for dataset in datasets():
        if dataset.name.lower().replace("-", "_") == wanted:
            return dataset
    raise ConfigError(
        f"there is no dataset {name!r}",
        expected=", ".join(dataset.name for dataset in datasets()),
        remedy="hemlets data list shows what each needs",
    )
