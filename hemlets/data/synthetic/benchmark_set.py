"""Rendered benchmarks with fixed content under a fixed name.

A file in this folder holds a benchmark's configuration and a description of its labels. A rendering
with other labels, e.g. by a newer renderer or with another body, is refused. Images may differ in
their last bits between machines, so labels are compared: names and numbers of clips exactly,
coordinates within a tolerance.

A new benchmark is made with ``python -m hemlets.data.synthetic.benchmark_set NAME FOLDER`` from a
rendered folder, and never changed afterwards.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.assets import asset_path
from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import read_json, sha256_file, write_json
from hemlets.data.synthetic.config import OpenDataConfig
from hemlets.data.synthetic.dataset import RENDERER_VERSION, build_open_data
from hemlets.data.table import Annotations

_EXACT: Final = ("sample_id", "split", "clip", "family", "frame", "gender", "box_source")
_CLOSE: Final = {
    "box_xyxy": 0.1,
    "joints2d_px": 0.1,
    "joints3d_mm": 0.5,
    "camera": 0.5,
    "theta": 0.005,
    "betas": 0.001,
    "transl_mm": 0.5,
}
"""Tolerance of a value, in the column's unit."""

_SHARES: Final = ("relations", "visible", "truncated")
_LARGEST_SHARE_CHANGE: Final = 0.002
_PROBES: Final = 5


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem for path in Path(__file__).parent.glob("open-benchmark-*.json"))


def benchmark_config(name: str) -> OpenDataConfig:
    """Return the configuration of a benchmark.

    Raises:
        ConfigError: There is none of that name.
    """
    # Benchmarks made before empty scenes existed have none.
    config = {"background_share": 0.0} | _frozen(name)["config"]
    return OpenDataConfig.from_mapping(config, where=name)


def build_benchmark(
    name: str,
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render a benchmark into a folder, or resume an interrupted rendering, and check it.

    Raises:
        ConfigError: There is none of that name.
        DataError: This installation renders other labels; the message lists the differences.
    """
    frozen = _frozen(name)
    _require_same_makers(name, frozen, RENDERER_VERSION, {
        asset: sha256_file(asset_path(asset)) for asset in frozen["assets"]
    })  # fmt: skip
    build_open_data(benchmark_config(name), folder, workers=workers, progress=progress)
    verify_benchmark(name, folder)


def verify_benchmark(name: str, folder: Path) -> None:
    """Refuse a folder that does not hold a benchmark.

    Raises:
        ConfigError: There is none of that name.
        DataError: The folder holds other labels; the message lists the differences.
    """
    frozen = _frozen(name)
    version = read_json(folder / "version.json")
    _require_same_makers(name, frozen, version.get("renderer"), version.get("assets", {}))
    found = describe_labels(Annotations.read(folder / "annotations.parquet"))
    differences = list(_differences(frozen["labels"], found))
    if differences:
        raise DataError(
            f"the labels are not those of {name}: " + "; ".join(differences),
            where=folder,
            expected=f"the labels that {name}.json describes",
            remedy="check the version out from where it was committed; what this code renders "
            "is another benchmark and needs another name",
        )


def describe_labels(table: Annotations) -> dict[str, Any]:
    """Describe a table's labels in a small form that can be compared with tolerances.

    Scenes without a person have no labels and are left out.
    """
    table = table.take(table.shows_person)
    probes = np.linspace(0, len(table) - 1, _PROBES).astype(int)
    return {
        "rows": len(table),
        "exact": {name: _digest(table.column(name)) for name in _EXACT},
        "close": {
            name: {
                "mean": round(float(table.column(name).mean(dtype=np.float64)), 4),
                "std": round(float(table.column(name).std(dtype=np.float64)), 4),
                "rows": {
                    str(table.sample_id[row]): [
                        round(float(value), 4) for value in table.column(name)[row].reshape(-1)
                    ]
                    for row in probes
                },
            }
            for name in _CLOSE
        },
        "shares": {
            name: {
                str(int(value)): round(float((table.column(name) == value).mean()), 5)
                for value in np.unique(table.column(name))
            }
            for name in _SHARES
        },
    }


def _frozen(name: str) -> dict[str, Any]:
    path = Path(__file__).with_name(f"{name}.json")
    if name not in benchmark_names():
        raise ConfigError(
            f"there is no rendered benchmark {name!r}", expected=", ".join(benchmark_names())
        )
    frozen: dict[str, Any] = read_json(path)
    return frozen


def _require_same_makers(
    name: str, frozen: dict[str, Any], renderer: object, assets: dict[str, str]
) -> None:
    changed = [] if renderer == frozen["renderer"] else [
        f"renderer {renderer} instead of {frozen['renderer']}"
    ]  # fmt: skip
    changed += [
        f"another {asset} ({str(assets.get(asset))[:12]} instead of {digest[:12]})"
        for asset, digest in frozen["assets"].items()
        if assets.get(asset) != digest
    ]
    if changed:
        raise DataError(
            f"{name} can't come from this: " + "; ".join(changed),
            where=name,
            remedy="check the version out from where it was committed, or install the release "
            "that made it",
        )


def _digest(values: Any) -> str:
    return hashlib.sha256("\n".join(map(str, values)).encode()).hexdigest()


def _differences(frozen: dict[str, Any], found: dict[str, Any]) -> list[str]:
    if found["rows"] != frozen["rows"]:
        return [f"{found['rows']} rows instead of {frozen['rows']}"]
    differences = [
        name for name in frozen["exact"] if found["exact"][name] != frozen["exact"][name]
    ]
    for name, expected in frozen["close"].items():
        got, limit = found["close"][name], _CLOSE[name]
        for figure in ("mean", "std"):
            if abs(got[figure] - expected[figure]) > limit:
                differences.append(f"{name} ({figure} {got[figure]} instead of {expected[figure]})")
        for sample, values in expected["rows"].items():
            beyond = np.abs(np.subtract(got["rows"].get(sample, np.inf), values)).max()
            if beyond > limit:
                differences.append(f"{name} of {sample} (by up to {beyond:.3g})")
    for name, shares in frozen["shares"].items():
        for value in shares.keys() | found["shares"][name].keys():
            change = found["shares"][name].get(value, 0.0) - shares.get(value, 0.0)
            if abs(change) > _LARGEST_SHARE_CHANGE:
                differences.append(f"the share of {name} = {value} (by {change:+.4f})")
    return differences


def _freeze(name: str, folder: Path) -> None:
    """Describe a rendered folder as a new benchmark.

    Raises:
        ConfigError: The benchmark exists, or its name is of another form.
    """
    path = Path(__file__).with_name(f"{name}.json")
    if path.exists() or not name.startswith("open-benchmark-"):
        raise ConfigError(
            f"{name!r} can't be made", expected="a new name of the form open-benchmark-NUMBER"
        )
    version = read_json(folder / "version.json")
    table = Annotations.read(folder / "annotations.parquet")
    retained = {key: version[key] for key in ("renderer", "config", "assets")}
    write_json(path, retained | {"labels": describe_labels(table)})


if __name__ == "__main__":
    _freeze(sys.argv[1], Path(sys.argv[2]))
