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
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path
from hemlets.inference.observed import FEATURES, observe
from hemlets.inference.types import BodyEstimate, Box

LOG_VARIABLE: Final = "HEMLETS_PREDICTION_LOG"
SHARE_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_SHARE"
IMAGES_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_IMAGES"
SIZE_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_MB"
SECONDS_VARIABLE: Final = "HEMLETS_PREDICTION_LOG_SECONDS"

_FILES: Final = "[0-9]*-[0-9]*-[0-9]*/[0-2][0-9]/*.parquet"
_ROWS: Final = 512
_SECONDS: Final = 60.0
_IMAGE_PX: Final = 320
_MARGIN: Final = 0.2
"""Of the box on each side: limbs of a tight box, and what an annotator needs around the person."""

_log = logging.getLogger(__name__)


class PredictionLog:
    """Collects rows in memory and writes them as files ``DATE/HOUR/TIME-PROCESS-NUMBER.parquet``.

    Args:
        folder: Folder that the files are written to.
        share: Share of requests that are logged.
        images: Whether to store a thumbnail of each person.
        most_bytes: Largest size of the folder; the oldest files are removed first.
        rows: Largest number of rows per file.
        seconds: Age of a buffered row at which it is written.
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
        self._number = 0
        self._timer: threading.Timer | None = None
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
            seconds=_number(SECONDS_VARIABLE, _SECONDS, 0.1, 3600),
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
                self._rows += rows
                full = len(self._rows) >= self._most_rows
                # A served worker is ended without its atexit functions.
                if self._timer is None and self._rows:
                    self._timer = threading.Timer(self._seconds, self.flush)
                    self._timer.daemon = True
                    self._timer.start()
            if full:
                self.flush()
        except Exception:
            _log.exception("a prediction was not logged")

    def flush(self) -> None:
        """Write the buffered rows."""
        with self._lock:
            rows, self._rows = self._rows, []
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
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
        image, box = _picture(image_HW3, estimate) if self.images else (None, None)
        return {
            "time": now,
            "version": version,
            "width": image_HW3.shape[1],
            "height": image_HW3.shape[0],
            "people": people,
            "person": known,
            **observe(image_HW3, estimate),
            "image": image,
            "image_box": box,
        }

    def _remove_oldest(self) -> None:
        files = list(log_files(self.folder))
        size = sum(path.stat().st_size for path in files)
        for path in files[:-1]:
            if size <= self._most_bytes:
                break
            size -= path.stat().st_size
            path.unlink(missing_ok=True)


def log_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a log, oldest first."""
    yield from sorted(folder.glob(_FILES))


def read_images(path: Path) -> list[tuple[bytes, Box | None]]:
    """Read the image of each row of a log's file, with the person's box in it.

    Args:
        path: The file.

    Returns:
        Empty bytes for a row without an image; no box for a row of an older log.

    Raises:
        DataError: The file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        images = table.column("image").to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _unreadable(path, error) from error
    boxed = "image_box" in table.column_names
    boxes = table.column("image_box").to_pylist() if boxed else [None] * len(images)
    return [
        (image or b"", None if box is None else tuple(box))
        for image, box in zip(images, boxes, strict=True)
    ]


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError.damaged(
        f"a file of the log can't be read: {error}", path, remedy="delete the file"
    )


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
    first_hour = datetime.fromtimestamp(max(since, 0.0), UTC).strftime("%Y-%m-%d/%H")
    tables = []
    for path in log_files(folder):
        if path.parent.relative_to(folder).as_posix() < first_hour:
            continue
        try:
            tables.append(pq.read_table(path, columns=names))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _unreadable(path, error) from error
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
                ("image_box", pa.list_(pa.float32())),
            ]
        )  # fmt: skip
        with atomic_path(path) as scratch:
            pq.write_table(pa.Table.from_pylist(list(mine), schema), scratch, compression="zstd")


def _picture(image_HW3: npt.NDArray[np.uint8], estimate: BodyEstimate) -> tuple[bytes, Box]:
    """A small JPEG of the person with a margin, and the box in it."""
    import cv2

    from hemlets.data.images import encode_jpeg

    height, width = image_HW3.shape[:2]
    left, top, right, bottom = (float(value) for value in estimate.box_xyxy)
    more_x, more_y = _MARGIN * (right - left), _MARGIN * (bottom - top)
    x0 = min(max(round(left - more_x), 0), width - 1)
    y0 = min(max(round(top - more_y), 0), height - 1)
    x1 = max(min(round(right + more_x), width), x0 + 1)
    y1 = max(min(round(bottom + more_y), height), y0 + 1)
    scale = min(1.0, _IMAGE_PX / max(x1 - x0, y1 - y0))
    size = max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1)
    patch = np.ascontiguousarray(image_HW3[y0:y1, x0:x1])
    small = cv2.resize(patch, size, interpolation=cv2.INTER_AREA)
    box = tuple(
        float(np.clip(value - start, 0, end - start) * scale)
        for value, start, end in (
            (left, x0, x1), (top, y0, y1), (right, x0, x1), (bottom, y0, y1),
        )
    )  # fmt: skip
    return encode_jpeg(np.asarray(small, np.uint8)), box  # type: ignore[return-value]


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
