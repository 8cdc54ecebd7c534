"""Load a dataset's images: stills and video frames, from an untrusted folder.

No path may lead out of the folder, by ``..`` or by a link. Only images and videos are opened, and
too large ones are refused by their header.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from hemlets.core.arrays import Bool, Image
from hemlets.core.errors import DataError, InputError
from hemlets.data.masks import PERSON, as_mask
from hemlets.data.readers.contract import ImageRef
from hemlets.data.table import ShardReader, decode_image
from hemlets.data.video_file import open_video_file

MAX_FILE_BYTES: Final = 200_000_000
"""Larger still images are refused before they are read."""

_SHARD: Final = ".arrow"
_SEGMENTATIONS: Final = ".mat"
_KEPT_STILLS: Final = 4
_KEPT_VIDEOS: Final = 2


def resolve_inside(root: Path, path: str) -> Path:
    """Return a file below a folder, and refuse any other.

    Args:
        root: The dataset's folder; may itself be a link.
        path: Relative, with ``/``.

    Raises:
        InputError: The path is absolute, leads out of the folder, also by a link, or is no
            file.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or "\0" in path or ".." in parts:
        raise InputError(
            "the path of the image leads out of the dataset's folder",
            where=path,
            expected="a path relative to the folder, without '..'",
        )
    base = root.resolve()
    found = base.joinpath(*parts)
    try:
        target = found.resolve(strict=True)
    except (OSError, RuntimeError):
        raise InputError.missing(
            "the image", path, remedy="download or extract the missing file and run ingest again"
        ) from None
    if not target.is_relative_to(base):
        raise InputError(
            "a link leads out of the dataset's folder",
            where=path,
            expected="files below the folder",
            remedy="copy the linked files into the folder, or give the folder they are in",
        )
    if not target.is_file():
        raise InputError("this is not a file", where=path, expected="an image or a video")
    return target


class Video:
    """Decodes a video's frames by number, each once if requested in rising order.

    Seeking is not exact in many files, so frames are counted from the start; for an earlier frame
    the file is opened again.

    Raises:
        InputError: No video of a known container, or larger than can be decoded.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._capture = open_video_file(path, name)
        self._next = 0

    def frame(self, number: int) -> Image:
        """Decode one frame, counted from 0, as RGB (H, W, 3).

        Raises:
            InputError: The video ends, or is damaged, before it.
        """
        if number < self._next:
            self._capture.release()
            self._capture, self._next = open_video_file(self._path, self.name), 0
        while self._next <= number:
            if not self._capture.grab():
                raise InputError(
                    f"the video ends after {self._next} frames",
                    where=f"{self.name}#{number}",
                    expected=f"more than {number} frames, as the annotations have them",
                    remedy="copy the video again; if it is whole, its annotations belong to "
                    "another one",
                )
            self._next += 1
        whole, bgr = self._capture.retrieve()
        if not whole or bgr is None:
            raise InputError("the frame is damaged", where=f"{self.name}#{number}")
        return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)

    def close(self) -> None:
        """Release the decoder."""
        self._capture.release()


class ImageSource:
    """Loads images by reference, with a cache of recent images and videos."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stills: dict[str, tuple[Image, bytes]] = {}
        self._videos: dict[str, Video] = {}
        self._frames: dict[str, tuple[int, Image]] = {}
        self._shards: dict[Path, ShardReader] = {}
        self._segmentations: dict[str, dict[str, Any]] = {}

    def load(self, ref: ImageRef) -> tuple[Image, bytes]:
        """Load an image's RGB pixels (H, W, 3) and its file's bytes, empty for a video's frame.

        Raises:
            InputError: The file or frame can't be used; the error names it.
            DataError: The image shard that the frame is a row of can't be used.
        """
        if ref.frame is None:
            return self._still(ref.path)
        if ref.frame < 0:
            raise InputError("a frame is counted from 0", where=str(ref))
        if ref.path.endswith(_SHARD):
            return self._row_of_shard(ref.path, ref.frame)
        cached = self._frames.get(ref.path)
        if cached is None or cached[0] != ref.frame:
            cached = ref.frame, self._video(ref.path).frame(ref.frame)
            self._frames[ref.path] = cached
        return cached[1], b""

    def mask(self, ref: ImageRef) -> Image:
        """Load a mask (H, W): part labels where the file has them, otherwise the silhouette.

        Raises:
            InputError: As for an image.
            DataError: SURREAL's segmentation file can't be read.
        """
        if ref.path.endswith(_SEGMENTATIONS):
            return as_mask(self._segmentation(ref.path, ref.frame or 0).astype(np.uint8) * PERSON)
        image, _ = self.load(ref)
        return as_mask(image)

    def close(self) -> None:
        """Release the videos."""
        for video in self._videos.values():
            video.close()
        self._videos.clear()

    def _still(self, path: str) -> tuple[Image, bytes]:
        if path not in self._stills:
            file = resolve_inside(self.root, path)
            size = file.stat().st_size
            if size > MAX_FILE_BYTES:
                raise InputError(
                    f"the image file has {size / 1e6:.0f} MB",
                    where=path,
                    expected=f"at most {MAX_FILE_BYTES / 1e6:.0f} MB",
                )
            try:
                data = file.read_bytes()
            except OSError as error:
                raise InputError(f"can't be read: {error.strerror}", where=path) from error
            _drop_oldest(self._stills, _KEPT_STILLS)
            self._stills[path] = decode_image(data, where=path), data
        return self._stills[path]

    def _row_of_shard(self, path: str, row: int) -> tuple[Image, bytes]:
        file = resolve_inside(self.root, path)
        folder = self._shards.setdefault(file.parent, ShardReader(file.parent))
        data = folder.jpeg(file.name, row)
        return decode_image(data, where=f"{path}#{row}"), data

    def _segmentation(self, path: str, frame: int) -> Bool:
        """Load one of SURREAL's masks, stored by number in the video's MATLAB file."""
        if path not in self._segmentations:
            from hemlets.data.readers.files3d import read_mat

            # A clip's masks are read together, and only the current clip's are cached.
            self._segmentations = {path: read_mat(resolve_inside(self.root, path))}
        name = f"segm_{frame + 1}"
        parts = self._segmentations[path].get(name)
        if parts is None or np.ndim(parts) != 2:
            raise DataError("the mask is missing", where=f"{path}: {name}", expected="an image")
        return np.asarray(parts) > 0

    def _video(self, path: str) -> Video:
        if path not in self._videos:
            file = resolve_inside(self.root, path)
            for name in list(self._videos)[: max(0, len(self._videos) - _KEPT_VIDEOS + 1)]:
                self._videos.pop(name).close()
                self._frames.pop(name, None)
            self._videos[path] = Video(file, path)
        return self._videos[path]


def _drop_oldest(cached: dict[str, tuple[Image, bytes]], most: int) -> None:
    for name in list(cached)[: max(0, len(cached) - most + 1)]:
        del cached[name]


def require_size(image_HW3: Image, width: int, height: int, *, where: str) -> None:
    """Require an image's size to equal the annotated one; 0 means unknown.

    Raises:
        DataError: They differ, so the annotations were made on another image.
    """
    found_height, found_width = image_HW3.shape[:2]
    if (width and width != found_width) or (height and height != found_height):
        raise DataError(
            f"the image has {found_width}×{found_height} pixels",
            where=where,
            expected=f"{width}×{height}, as the annotations have it",
            remedy="the image was resized, turned or replaced: get the dataset's own file",
        )
