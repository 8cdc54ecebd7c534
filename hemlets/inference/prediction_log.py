"""Sampled prediction log: hourly Parquet files, written atomically, of bounded size.

Off by default. Environment variables enable it and set its limits; images are stored only if
enabled separately. A log that can't be written never fails a request.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path
from hemlets.inference.observed import FEATURES, observe
from hemlets.inference.types import BodyEstimate

LOG_VARIABLE: Final = "HEMLETS_PREDICTION_LOG"
SHARE_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_SHARE"
IMAGES_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_IMAGES"
SIZE_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_MB"

_ROWS: Final = 512
_SECONDS: Final = 60.0
_IMAGE_PX: Final = 256

_log = logging.getLogger(__name__)


class PredictionLog:
    """Collects rows in memory and writes them as files ``DATE/HOUR/TIME-PROCESS-NUMBER.parquet``.

    Args:
        folder: Folder that the files are written to.
        share: Share of requests that are logged.
        images: Whether to store a thumbnail of each person.
        most_bytes: Largest size of the folder; the oldest files are removed first.
        rows: Largest number of rows per file.
        seconds: Largest age of buffered rows when the next row arrives.
    """

    def __init__(
        self,
        folder: Path,
        *,
        share: float = 0.05,
        images: bool = False,
        most_bytes: int = 500_000_000,
        rows: int = _ROWS,
        seconds: float = _SECONDS,
    ) -> None:
        self.folder, self.share, self.images = folder, share, images
        self._most_bytes, self._most_rows, self._seconds = most_bytes, rows, seconds
        self._rows: list[dict[str, Any]] = []
        self._first, self._number = 0.0, 0
        self._lock = threading.Lock()
        atexit.register(self.flush)

    @classmethod
    def from_env(cls) -> Self | None:
        """Create the log configured by the environment; None if disabled.

        Raises:
            ConfigError: A limit is not a number in its range.
        """
        folder = os.environ.get(LOG_VARIABLE)
        if not folder:
            return None
        return cls(
            Path(folder).expanduser(),
            share=_number(SHARE_VARIABLE, 0.05, 0, 1),
            images=os.environ.get(IMAGES_VARIABLE, "") not in ("", "0"),
            most_bytes=int(1e6 * _number(SIZE_VARIABLE, 500, 1, 1e6)),
        )

    def add(
        self,
        image_HW3: npt.NDArray[np.uint8],
        estimates: Sequence[BodyEstimate],
        *,
        version: str,
    ) -> None:
        """Log an answered request if it is sampled. Errors are logged, never raised.

        Args:
            image_HW3: Image of the request.
            estimates: Prediction of each person.
            version: The served model version.
        """
        if random.random() >= self.share:
            return
        try:
            now = time.time()
            rows = [
                self._row(image_HW3, estimate, now, len(estimates), version)
                for estimate in estimates
            ]
            with self._lock:
                self._first = self._first if self._rows else now
                self._rows += rows
                full = len(self._rows) >= self._most_rows
                due = full or now - self._first >= self._seconds
            if due:
                self.flush()
        except Exception:
            _log.exception("a prediction was not logged")

    def flush(self) -> None:
        """Write the buffered rows."""
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            _write(self.folder, rows, self._number)
            self._number += 1
            self._remove_oldest()
        except Exception:
            _log.exception("%d predictions were not logged", len(rows))

    def _row(
        self,
        image_HW3: npt.NDArray[np.uint8],
        estimate: BodyEstimate,
        now: float,
        people: int,
        version: str,
    ) -> dict[str, Any]:
        known = estimate.person
        return {
            "time": now,
            "version": version,
            "width": image_HW3.shape[1],
            "height": image_HW3.shape[0],
            "people": people,
            "person": known,
            **observe(image_HW3, estimate),
            "image": _thumbnail(image_HW3, estimate) if self.images else None,
        }

    def _remove_oldest(self) -> None:
        files = sorted(self.folder.glob("*/*/*.parquet"))
        size = sum(path.stat().st_size for path in files)
        for path in files[:-1]:
            if size <= self._most_bytes:
                break
            size -= path.stat().st_size
            path.unlink(missing_ok=True)


def read_log(folder: Path, *, since: float = 0.0) -> dict[str, npt.NDArray[Any]]:
    """Read the rows of a log, without thumbnails.

    Args:
        folder: The log.
        since: Start of the window, seconds since 1970.

    Raises:
        DataError: The folder is absent, or a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not folder.is_dir():
        raise DataError.missing("the prediction log", folder, remedy=f"set {LOG_VARIABLE}")
    names = ["time", "version", "people", *FEATURES]
    first_hour = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d/%H")
    tables = []
    for path in sorted(folder.glob("*/*/*.parquet")):
        if path.parent.relative_to(folder).as_posix() < first_hour:
            continue
        try:
            tables.append(pq.read_table(path, columns=names))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError.damaged(f"a file of the log can't be read: {error}", path,
                                    remedy="delete the file") from error  # fmt: skip
    if not tables:
        return {name: np.zeros(0) for name in names}
    table = pa.concat_tables(tables)
    columns = {name: table.column(name).to_numpy() for name in names}
    recent = columns["time"] >= since
    return {name: values[recent] for name, values in columns.items()}


def _write(folder: Path, rows: Sequence[Mapping[str, Any]], number: int) -> None:
    """Write rows to the folders of their hours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_hour: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        hour = datetime.fromtimestamp(row["time"], UTC).strftime("%Y-%m-%d/%H")
        by_hour.setdefault(hour, []).append(row)
    for hour, mine in by_hour.items():
        first = datetime.fromtimestamp(mine[0]["time"], UTC).strftime("%M%S%f")
        path = folder / hour / f"{first}-{os.getpid()}-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = pa.schema(
            [
                ("time", pa.float64()), ("version", pa.string()), ("width", pa.int32()),
                ("height", pa.int32()), ("people", pa.int32()), ("person", pa.bool_()),
                *((name, pa.float32()) for name in FEATURES), ("image", pa.binary()),
            ]
        )  # fmt: skip
        with atomic_path(path) as scratch:
            pq.write_table(pa.Table.from_pylist(list(mine), schema), scratch, compression="zstd")


def _thumbnail(image_HW3: npt.NDArray[np.uint8], estimate: BodyEstimate) -> bytes:
    import cv2

    from hemlets.data.table import encode_jpeg

    height, width = image_HW3.shape[:2]
    left, top, right, bottom = (round(float(value)) for value in estimate.box_xyxy)
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    patch = image_HW3[y0 : max(min(bottom, height), y0 + 1), x0 : max(min(right, width), x0 + 1)]
    scale = min(1.0, _IMAGE_PX / max(patch.shape[:2]))
    size = max(round(patch.shape[1] * scale), 1), max(round(patch.shape[0] * scale), 1)
    small = cv2.resize(np.ascontiguousarray(patch), size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8))


def _number(variable: str, default: float, low: float, high: float) -> float:
    text = os.environ.get(variable, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ConfigError(
            f"{text!r} can't be used", where=variable, expected=f"{low:g} to {high:g}"
        )
    return value
