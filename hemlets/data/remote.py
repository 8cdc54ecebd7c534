"""Datasets in an S3 bucket: brought into a local cache, verified, and resumed part by part.

What a cached file is known by (size, ETag, SHA-256) is written beside the cache once the file is
whole. A file that changed in the bucket is fetched again, one that changed in the cache too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

from hemlets.core.errors import ConfigError, DataError, WorkspaceError
from hemlets.core.files import (
    content_hash,
    lock,
    read_json,
    require_free_space,
    sha256_file,
    write_json,
)

__all__ = ["PART_BYTES", "S3Object", "fetch_s3", "is_s3_url", "parse_s3_url", "s3_client"]

PART_BYTES: Final = 8 * 1024 * 1024
"""What is fetched at once, and at most lost when a download is cut off."""

_RECORDS: Final = ".objects"
_PARTS: Final = ".parts"
_UNSAFE: Final = re.compile(r"[\\\0-\x1f]")
_MD5: Final = re.compile(r"[0-9a-f]{32}")

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all."""


@dataclass(frozen=True, kw_only=True)
class S3Object:
    """An object below the prefix.

    Attributes:
        key: Its full key.
        path: Where it goes, relative to the cache, with ``/``.
        size: Bytes.
        etag: As the server gives it, without quotes.
    """

    key: str
    path: str
    size: int
    etag: str


def is_s3_url(text: str) -> bool:
    """Whether a source is a bucket rather than a folder."""
    return text.startswith("s3://")


def parse_s3_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; the prefix ends with ``/`` or is empty.

    Raises:
        ConfigError: Another form.

    >>> parse_s3_url("s3://data/mpii")
    ('data', 'mpii/')
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not is_s3_url(url) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise ConfigError(
            f"{url!r} is no place in a bucket", where="--from", expected="s3://bucket/prefix"
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def s3_client(endpoint: str | None = None) -> Any:
    """A client with the credentials of the environment or of AWS's own files.

    Args:
        endpoint: URL of a server other than Amazon's; ``AWS_ENDPOINT_URL_S3`` when omitted.

    Raises:
        ConfigError: boto3 isn't installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError(
            f"reading from S3 needs boto3: {error}",
            where="s3://",
            remedy="install it with: pip install 'hemlets[flows]'",
        ) from error
    # A session of its own: the default one keeps the credentials that it found first.
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint,
        # Without a region boto3 refuses to sign, though other servers than Amazon's have none.
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        or "us-east-1",
        config=Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=64,
            # Servers other than Amazon's answer part requests without checksums of the part.
            response_checksum_validation="when_required",
            request_checksum_calculation="when_required",
        ),
    )  # fmt: skip


def fetch_s3(
    url: str,
    cache: Path,
    *,
    endpoint: str | None = None,
    workers: int = 8,
    verify: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Bring everything below ``s3://bucket/prefix`` into a folder of the cache.

    Objects that are here already, whole and unchanged in the bucket, are not fetched again; one
    that was cut off goes on with its next part. Files that are no longer in the bucket go.

    Args:
        url: ``s3://bucket/prefix``.
        cache: Gets a folder of its own for the bucket and prefix.
        endpoint: See `s3_client`.
        workers: Objects fetched at the same time.
        verify: Also hash again what was fetched earlier and looks untouched.
        progress: See `Progress`.

    Returns:
        The folder that holds the dataset.

    Raises:
        ConfigError: The URL, the credentials or the bucket can't be used.
        DataError: A key leads out of the folder, or an object isn't what its ETag says.
        WorkspaceError: The disk is too small, or another process fills the folder.
    """
    bucket, prefix = parse_s3_url(url)
    name = f"{bucket}-{content_hash([endpoint, bucket, prefix])[:12]}"
    folder = cache / name
    client = s3_client(endpoint)
    with lock(cache / f".{name}.lock", f"a download of {url}"):
        objects = _told(url, lambda: list(_listing(client, bucket, prefix)))
        _require_safe(objects, url)
        store = _Store(client, bucket, folder, cache / f"{name}{_RECORDS}", verify=verify)
        store.sweep(objects)
        total = sum(item.size for item in objects)
        missing = [item for item in objects if not store.has(item)]
        require_free_space(cache, sum(item.size for item in missing))
        store.progress = _Sum(total - sum(item.size for item in missing), total, progress)
        _told(url, lambda: _fetch_all(store, missing, workers))
    return folder


def _listing(client: Any, bucket: str, prefix: str) -> Iterator[S3Object]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key = str(item["Key"])
            # Consoles make empty objects that stand for folders.
            if not (key.endswith("/") and not item["Size"]):
                yield S3Object(
                    key=key,
                    path=key.removeprefix(prefix),
                    size=int(item["Size"]),
                    etag=str(item["ETag"]).strip('"'),
                )


def _require_safe(objects: Sequence[S3Object], url: str) -> None:
    """Refuse keys that would be written outside the folder or over one another."""
    if not objects:
        raise DataError(
            "there is nothing at this place in the bucket",
            where=url,
            remedy="look at the spelling of bucket and prefix",
        )
    paths = {item.path for item in objects}
    for item in objects:
        parts = item.path.split("/")
        if (
            any(part in ("", ".", "..") for part in parts)
            or _UNSAFE.search(item.path)
            or max(map(len, parts)) > 200
        ):
            raise DataError(
                f"the key {item.key!r} can't be a file below the dataset's folder",
                where=url,
                expected="names without '..', empty parts, backslashes and control characters",
                remedy="remove or rename that object; nothing was fetched",
            )
        above = next(("/".join(parts[:i]) for i in range(1, len(parts))
                      if "/".join(parts[:i]) in paths), None)  # fmt: skip
        if above is not None:
            raise DataError(
                f"the key {item.key!r} lies below another object, {above!r}",
                where=url,
                expected="a name that is a file or a folder, not both",
                remedy="rename one of the two; nothing was fetched",
            )


def _fetch_all(store: _Store, missing: Sequence[S3Object], workers: int) -> None:
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="s3") as pool:
        tasks = [pool.submit(store.fetch, item) for item in missing]
        try:
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        except BaseException:
            store.stopped = True
            raise
        failed = next((task for task in done if task.exception() is not None), None)
        if failed is not None:
            store.stopped = True
            failed.result()


class _Sum:
    """Adds up what several threads have fetched."""

    def __init__(self, done: int, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = done, total, progress
        self._lock = Lock()
        self.add(0)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._total)


class _Store:
    """The cache of one bucket and prefix: files, their records, and parts under way."""

    def __init__(
        self, client: Any, bucket: str, folder: Path, records: Path, *, verify: bool
    ) -> None:
        self._client, self._bucket, self._verify = client, bucket, verify
        self._folder, self._records = folder, records
        self._parts = records.with_suffix(_PARTS)
        self._encrypted: set[str] = set()
        self.progress = _Sum(0, 0, None)
        self.stopped = False

    def sweep(self, objects: Sequence[S3Object]) -> None:
        """Remove what the bucket doesn't hold."""
        paths = {item.path for item in objects}
        for file in list(self._folder.rglob("*")) if self._folder.exists() else []:
            if not file.is_dir() and file.relative_to(self._folder).as_posix() not in paths:
                file.unlink()

    def has(self, item: S3Object) -> bool:
        """Whether an object is here as it is in the bucket."""
        file, record = self._folder / item.path, self._record(item)
        if not (file.is_file() and record.exists()):
            return False
        known = read_json(record)
        if any(known.get(name) != value for name, value in asdict(item).items()):
            return False
        state = file.stat()
        if state.st_size != item.size:
            return False
        untouched = known.get("mtime_ns") == state.st_mtime_ns
        return (untouched and not self._verify) or known.get("sha256") == sha256_file(file)

    def fetch(self, item: S3Object) -> None:
        """Fetch an object part by part into a scratch file, check it, and give it its name."""
        part = self._parts / f"{content_hash(asdict(item))}.part"
        self._parts.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as sink:
            # Whole parts only: the last one may have been cut off anywhere.
            sink.truncate(sink.tell() // PART_BYTES * PART_BYTES)
            have = sink.seek(0, os.SEEK_END)
            self.progress.add(have)
            while have < item.size:
                if self.stopped:
                    return
                data = self._part(item, have)
                sink.write(data)
                sink.flush()
                have += len(data)
                self.progress.add(len(data))
            os.fsync(sink.fileno())
        sha256 = self._checked(item, part)
        file = self._folder / item.path
        file.parent.mkdir(parents=True, exist_ok=True)
        part.replace(file)
        record = asdict(item) | {"sha256": sha256, "mtime_ns": file.stat().st_mtime_ns}
        write_json(self._record(item), record)

    def _part(self, item: S3Object, start: int) -> bytes:
        stop = min(start + PART_BYTES, item.size)
        answer = self._client.get_object(
            Bucket=self._bucket,
            Key=item.key,
            Range=f"bytes={start}-{stop - 1}",
            # Parts of two versions of an object would make a file that never was.
            IfMatch=f'"{item.etag}"',
        )
        if answer.get("ServerSideEncryption", "AES256") != "AES256":
            # The ETag of an object under a key of its owner's is no MD5.
            self._encrypted.add(item.key)
        data = bytes(answer["Body"].read())
        if len(data) != stop - start:
            raise DataError(
                f"the server gave {len(data)} bytes for {stop - start}",
                where=f"s3://{self._bucket}/{item.key}",
                remedy="run the command again, it goes on where it stopped",
            )
        return data

    def _checked(self, item: S3Object, part: Path) -> str:
        """SHA-256 of a whole file whose size and, where the ETag is one, MD5 are right."""
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha256.update(block)
                md5.update(block)
        is_md5 = _MD5.fullmatch(item.etag) is not None and item.key not in self._encrypted
        wrong_md5 = is_md5 and md5.hexdigest() != item.etag
        if part.stat().st_size != item.size or wrong_md5:
            part.unlink()
            raise DataError(
                "the object's bytes are not those that its ETag stands for",
                where=f"s3://{self._bucket}/{item.key}",
                expected=f"{item.size} bytes, ETag {item.etag}",
                remedy="run the command again; if it stays so, upload the object again",
            )
        return sha256.hexdigest()

    def _record(self, item: S3Object) -> Path:
        return self._records / f"{content_hash(item.path)[:32]}.json"


def _told(url: str, action: Callable[[], Any]) -> Any:
    """What an action returns; errors of the S3 client become ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return action()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        changed = code in ("PreconditionFailed", "412")
        raise (DataError if changed else ConfigError)(
            "an object changed in the bucket while it was fetched"
            if changed
            else f"the S3 server refused: {code} {error.response['Error'].get('Message', '')}",
            where=url,
            remedy="run the command again"
            if changed
            else "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3 and at "
            "the name of the bucket",
        ) from error
    except BotoCoreError as error:
        raise WorkspaceError(
            f"the S3 server can't be reached: {error}",
            where=url,
            remedy="look at the network, AWS_ENDPOINT_URL_S3 and the credentials, then run the "
            "command again, it goes on where it stopped",
        ) from error
