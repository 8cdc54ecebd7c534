"""Write one shard: cut people out of their images; write rows and quarantine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Floating, Image
from hemlets.core.errors import DataError, InputError
from hemlets.core.files import atomic_path
from hemlets.core.intrinsics import intrinsics_fault
from hemlets.data.masks import as_mask, has_parts
from hemlets.data.readers.contract import ImageRef
from hemlets.data.readers.quarantine import Quarantined
from hemlets.data.table import FIELDS, Annotations, decode_image, encode_jpeg
from hemlets.data.versions.images import ImageSource, require_size
from hemlets.data.versions.ingest_config import IngestConfig
from hemlets.data.versions.ingest_rows import StagedShard, read_staged
from hemlets.data.versions.ingest_window import Window, to_stored, window_of
from hemlets.data.versions.writer import store_shard

_MOST_BYTES_A_PIXEL: Final = 3.0
"""Photos with more are encoded again: phones append videos to their photos."""


@dataclass(frozen=True, kw_only=True)
class _Stored:
    jpeg: bytes
    window: Window
    mask: bytes


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Makes a worker that stores shards of a dataset."""

    root: Path
    folder: Path
    staging: Path
    config: IngestConfig

    def __call__(self) -> Callable[[StagedShard], None]:
        """Return the function that stores one shard."""
        import cv2

        # Sums over several threads may round differently.
        cv2.setNumThreads(1)
        source = ImageSource(self.root)
        return lambda shard: self._store(source, shard)

    def _store(self, source: ImageSource, shard: StagedShard) -> None:
        rows, images, masks = read_staged(self.staging, shard)
        columns = {field.name: rows.column(field.name) for field in FIELDS}
        stored: list[_Stored] = []
        decoded_rows: list[int] = []
        refused: list[Quarantined] = []
        for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
            size = int(columns["image_width"][row]), int(columns["image_height"][row])
            try:
                png, box_4 = columns["mask"][row], columns["box_xyxy"][row]
                camera = columns["camera"][row] if columns["camera_valid"][row] else None
                stored.append(self._person(source, image, mask, png, box_4, camera, size))
                decoded_rows.append(row)
            except (DataError, InputError) as error:
                refused.append(
                    _refusal(error, image, columns["sample_id"][row], int(columns["frame"][row]))
                )
        write_quarantine(quarantine_file(self.staging, shard), refused)
        picked = {name: values[decoded_rows] for name, values in columns.items()}
        table = self._table(picked, stored, shard)
        jpegs = [person.jpeg for person in stored]
        store_shard(self.folder, self.staging, shard, table, jpegs)

    def _person(
        self,
        source: ImageSource,
        ref: ImageRef,
        mask: ImageRef | None,
        png: bytes,
        box_xyxy: Floating,
        camera_4: Floating | None,
        size: tuple[int, int],
    ) -> _Stored:
        image, data = source.load(ref)
        require_size(image, *size, where=str(ref))
        _require_camera(camera_4, image)
        window = window_of(box_xyxy, (image.shape[1], image.shape[0]), self.config)
        if window.holds_all_of(image) and _is_plain_jpeg(data, image):
            jpeg = data
        else:
            cut = np.ascontiguousarray(window.cut(image))
            jpeg = encode_jpeg(cut, quality=self.config.jpeg_quality)
        return _Stored(
            jpeg=jpeg,
            window=window,
            mask=_cut_mask(source.mask(mask) if mask else _decoded(png), image, window),
        )

    def _table(
        self, columns: dict[str, Any], stored: list[_Stored], shard: StagedShard
    ) -> Annotations:
        count = len(stored)
        moved = to_stored(columns, [person.window for person in stored])
        moved["shard"] = [shard.name] * count
        moved["shard_row"] = np.arange(count, dtype=np.int32)
        moved["image_hash"] = [hashlib.sha256(person.jpeg).hexdigest() for person in stored]
        moved["mask"] = [person.mask for person in stored]
        return Annotations.from_columns(moved)


def _require_camera(camera_4: Floating | None, image: Image) -> None:
    if camera_4 is None:
        return
    fx, fy, cx, cy = map(float, camera_4)
    fault = intrinsics_fault((fx, fy, cx, cy), (image.shape[1], image.shape[0]))
    if fault:
        raise DataError(fault, where="camera", remedy="give fx, fy, cx, cy in pixels of the image")


def _is_plain_jpeg(data: bytes, image: Image) -> bool:
    """Return whether a file may be stored byte for byte, without a second lossy encoding."""
    pixels = image.shape[0] * image.shape[1]
    return data.startswith(b"\xff\xd8") and len(data) <= _MOST_BYTES_A_PIXEL * pixels


def _decoded(png: bytes) -> Image | None:
    return as_mask(decode_image(png, where="mask")) if png else None


def _cut_mask(mask: Image | None, image: Image, window: Window) -> bytes:
    if mask is None:
        return b""
    import cv2

    if mask.shape != image.shape[:2]:
        raise DataError(
            f"the mask has {mask.shape[1]}×{mask.shape[0]} pixels",
            where="mask",
            expected=f"{image.shape[1]}×{image.shape[0]}, as its image",
            remedy="get the mask of this image",
        )
    if has_parts(mask):
        labels = np.unique(mask)
        # Labels don't mix where pixels do: each is cut by itself, and the largest share wins.
        shares = [window.cut(np.where(mask == label, np.uint8(255), np.uint8(0)))
                  for label in labels]  # fmt: skip
        _, buffer = cv2.imencode(".png", labels[np.argmax(shares, axis=0)])
        return bytes(buffer)
    cut = window.cut(np.where(mask > 0, np.uint8(255), np.uint8(0)))
    binary = np.where(cut > 127, np.uint8(255), np.uint8(0))
    _, buffer = cv2.imencode(".png", binary, [cv2.IMWRITE_PNG_BILEVEL, 1])
    return bytes(buffer)


def _refusal(
    error: DataError | InputError, image: ImageRef, name: str, frame: int
) -> Quarantined:  # fmt: skip
    is_column = error.where in ("box_xyxy", "camera", "mask")
    expected = f"expected {error.expected}" if error.expected else ""
    remedy = "; ".join(text for text in (error.remedy, expected) if text)
    return Quarantined(
        what=f"{error.what} (sample {name})",
        file=str(image) if is_column or error.where is None else error.where,
        row=frame,
        field=str(error.where) if is_column else "image",
        remedy=remedy or "replace the file by the dataset's own",
    )


def quarantine_file(staging: Path, shard: StagedShard) -> Path:
    """Return the file of a shard's excluded rows."""
    return staging / f"{shard.name}.quarantine.jsonl"


def write_quarantine(path: Path, items: list[Quarantined]) -> None:
    """Write excluded items, one JSON object per line."""
    with atomic_path(path) as scratch:
        lines = [
            json.dumps(dataclasses.asdict(item), sort_keys=True, ensure_ascii=False)
            for item in items
        ]
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
