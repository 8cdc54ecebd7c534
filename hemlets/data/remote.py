"""Fetch a dataset from an S3 bucket into a local cache, verified and resumable by whole files.

A record in the cache (size, ETag, SHA-256, time of change) is written once a file is complete. A
file that changed in the bucket or in the cache is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
)

_RECORDS: Final = ".objects"
_SCRATCH: Final = ".parts"
_UNSAFE: Final = re.compile(r"[\\\0-\x1f]")
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_NAME: Final = 200
_IN_FLIGHT: Final = 32
"""Downloads that may be started before the first is checked."""

Progress = Callable[[int, int], None]
"""Called with the bytes fetched and the total."""


@dataclass(frozen=True, kw_only=True)
class S3Object:
    """An object of the bucket.

    Attributes:
        key: Its full key.
        path: Its file relative to the dataset's folder, with ``/``.
        size: Bytes.
        etag: The server's ETag, without quotes.
    """

    key: str
    path: str
    size: int
    etag: str


def is_s3_url(text: str) -> bool:
    """Return whether a source is a bucket rather than a folder."""
    return text.startswith("s3://")


def parse_s3_url(url: str) -> tuple[str, str]:
    """Split ``s3://bucket/prefix`` into bucket and prefix; the prefix ends with ``/`` or is empty.

    Raises:
        ConfigError: Another form.

    >>> parse_s3_url("s3://data/mpii")
    ('data', 'mpii/')
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not is_s3_url(url) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise ConfigError("this is no place in a bucket", where=url, expected="s3://bucket/prefix")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def s3_client(endpoint: str | None = None) -> Any:
    """Make a client with the credentials of the environment or of AWS's own files.

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
    # A new session: the default one caches the first credentials.
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


def list_s3(url: str, *, endpoint: str | None = None) -> list[S3Object]:
    """List the objects below ``s3://bucket/prefix``, by key.

    Raises:
        ConfigError: The URL, the credentials or the bucket can't be used.
        DataError: There is nothing, or a key leads out of the folder.
        WorkspaceError: The server can't be reached.
    """
    bucket, prefix = parse_s3_url(url)
    with _s3_errors(url):
        objects = sorted(_listing(s3_client(endpoint), bucket, prefix), key=lambda item: item.key)
        _require_safe(objects, url)
    return objects


def fetch_s3(
    url: str,
    cache: Path,
    *,
    endpoint: str | None = None,
    workers: int = 8,
    verify: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Download everything below ``s3://bucket/prefix`` into a folder of the cache.

    Complete, unchanged objects in the cache are not downloaded again. Files that are no longer in
    the bucket are removed.

    Args:
        url: ``s3://bucket/prefix``.
        cache: Folder of caches; bucket and prefix get their own folder in it.
        endpoint: See `s3_client`.
        workers: Concurrent requests.
        verify: Also verify the hashes of cached files that look unchanged.
        progress: See `Progress`.

    Returns:
        The folder that holds the dataset.

    Raises:
        ConfigError: The URL, the credentials or the bucket can't be used.
        DataError: A key leads out of the folder, an object changed during the download, or its
            bytes don't match its ETag.
        WorkspaceError: The server can't be reached, the disk is too small, or another process
            fills the folder.
    """
    bucket, prefix = parse_s3_url(url)
    name = f"{bucket}-{content_hash([endpoint, bucket, prefix])[:12]}"
    client = s3_client(endpoint)
    with lock(cache / f".{name}.lock", f"a download of {url}"), _s3_errors(url):
        objects = list(_listing(client, bucket, prefix))
        _require_safe(objects, url)
        store = _Cache(cache, name, verify=verify)
        store.remove_others(objects)
        missing = [item for item in objects if not store.has(item)]
        waiting = sum(item.size for item in missing)
        require_free_space(cache, waiting)
        total = sum(item.size for item in objects)
        counter = _Counter(total - waiting, total, progress)
        _download(client, bucket, missing, store, workers=workers, counter=counter)
    return store.folder


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
    """Refuse keys that lead out of the folder or would overwrite each other."""
    if not objects:
        raise DataError(
            "there is nothing at this place in the bucket",
            where=url,
            remedy="check the spelling of bucket and prefix",
        )
    paths = {item.path for item in objects}
    for item in objects:
        parts = item.path.split("/")
        if (
            any(part in ("", ".", "..") for part in parts)
            or _UNSAFE.search(item.path)
            or max(map(len, parts)) > _LONGEST_NAME
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


class _Counter:
    """Adds up bytes from several threads; boto3 subtracts bytes when it retries."""

    def __init__(self, done: int, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = done, total, progress
        self._lock = Lock()
        self.add(0)

    def add(self, bytes_transferred: int) -> None:
        with self._lock:
            self._done += bytes_transferred
            if self._progress is not None:
                self._progress(self._done, self._total)


def _download(
    client: Any,
    bucket: str,
    objects: Sequence[S3Object],
    cache: _Cache,
    *,
    workers: int,
    counter: _Counter,
) -> None:
    """Download objects with boto3's transfer manager; check each before renaming it."""
    from boto3.s3.transfer import ProgressCallbackInvoker, TransferConfig, create_transfer_manager
    from s3transfer.subscribers import BaseSubscriber

    class Listed(BaseSubscriber):  # type: ignore[misc]
        """Without the listing's size and ETag the manager asks for each object's first."""

        def __init__(self, item: S3Object) -> None:
            self._item = item

        def on_queued(self, future: Any, **_: object) -> None:
            future.meta.provide_transfer_size(self._item.size)
            future.meta.provide_object_etag(f'"{self._item.etag}"')

    def settle(item: S3Object, transfer: Any) -> None:
        transfer.result()
        cache.accept(item, has_md5=lambda: _has_md5(client, bucket, item))

    under_way: deque[tuple[S3Object, Any]] = deque()
    config = TransferConfig(max_concurrency=max(1, workers))
    # Leaving with an error cancels running downloads.
    with create_transfer_manager(client, config) as manager:
        for item in objects:
            subscribers = [Listed(item), ProgressCallbackInvoker(counter.add)]
            target = str(cache.scratch(item))
            under_way.append(
                (item, manager.download(bucket, item.key, target, subscribers=subscribers))
            )
            if len(under_way) >= _IN_FLIGHT:
                settle(*under_way.popleft())
        while under_way:
            settle(*under_way.popleft())


def _has_md5(client: Any, bucket: str, item: S3Object) -> bool:
    """Return whether the ETag is the MD5 of the bytes: not with customer-provided keys.

    Raises:
        DataError: The object is another one than was listed.
    """
    head = client.head_object(Bucket=bucket, Key=item.key)
    # An empty object comes without an ETag.
    if str(head.get("ETag", item.etag)).strip('"') != item.etag:
        raise _changed(f"s3://{bucket}/{item.key}")
    return str(head.get("ServerSideEncryption", "AES256")) == "AES256"


class _Cache:
    """The cache of one bucket and prefix: complete files, their records, scratch files."""

    def __init__(self, cache: Path, name: str, *, verify: bool) -> None:
        self.folder = cache / name
        self._records, self._scratch = cache / f"{name}{_RECORDS}", cache / f"{name}{_SCRATCH}"
        self._verify = verify
        # Files that a killed download left behind.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)

    def remove_others(self, objects: Sequence[S3Object]) -> None:
        """Remove files that are not in the bucket."""
        paths = {item.path for item in objects}
        for file in list(self.folder.rglob("*")) if self.folder.exists() else []:
            if not file.is_dir() and file.relative_to(self.folder).as_posix() not in paths:
                file.unlink()

    def has(self, item: S3Object) -> bool:
        """Return whether the cache has the bucket's present version of an object."""
        file, record = self.folder / item.path, self._record(item)
        if not (file.is_file() and record.exists()):
            return False
        try:
            known = read_json(record)
        except DataError:
            return False
        if any(known.get(name) != value for name, value in asdict(item).items()):
            return False
        state = file.stat()
        if state.st_size != item.size:
            return False
        untouched = known.get("mtime_ns") == state.st_mtime_ns
        return (untouched and not self._verify) or known.get("sha256") == sha256_file(file)

    def scratch(self, item: S3Object) -> Path:
        """Return the scratch path for an object's download."""
        return self._scratch / content_hash(asdict(item))

    def accept(self, item: S3Object, *, has_md5: Callable[[], bool]) -> None:
        """Verify a downloaded object, rename it and record it.

        Args:
            item: The object.
            has_md5: Returns whether its ETag is an MD5, and refuses an object that has changed;
                called only if the ETag is not the MD5 of the bytes.

        Raises:
            DataError: Size or MD5 are wrong.
        """
        scratch = self.scratch(item)
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with scratch.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha256.update(block)
                md5.update(block)
            os.fsync(stream.fileno())
        same_size = scratch.stat().st_size == item.size
        if (md5.hexdigest() != item.etag or not same_size) and (
            (has_md5() and _MD5.fullmatch(item.etag)) or not same_size
        ):
            raise DataError.damaged(
                "the object's bytes are not those that its ETag stands for",
                item.key,
                f"{item.size} bytes, ETag {item.etag}",
                remedy="run the command again; if it stays so, upload the object again",
            )
        file = self.folder / item.path
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.replace(file)
        record = {"sha256": sha256.hexdigest(), "mtime_ns": file.stat().st_mtime_ns}
        # Not synchronised like the file: an object whose record is lost or cut is fetched again.
        path = self._record(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(item) | record), encoding="utf-8")

    def _record(self, item: S3Object) -> Path:
        name = content_hash(item.path)[:32]
        return self._records / name[:2] / f"{name}.json"


def _changed(where: str) -> DataError:
    return DataError(
        "an object changed in the bucket while it was fetched",
        where=where,
        remedy="run the command again",
    )


@contextmanager
def _s3_errors(url: str) -> Iterator[None]:
    """Convert errors of the S3 client.

    Raises:
        DataError: An object changed or was removed.
        ConfigError: The server refused.
        WorkspaceError: The server can't be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", ""))
        if code in ("PreconditionFailed", "412", "NoSuchKey"):
            raise _changed(url) from error
        raise ConfigError(
            f"the S3 server refused: {code} {answer.get('Message', '')}",
            where=url,
            remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3 and the "
            "name of the bucket",
        ) from error
    except (BotoCoreError, RetriesExceededError, ConnectionError) as error:
        raise WorkspaceError(
            f"the S3 server can't be reached: {error}",
            where=url,
            remedy="check the network, AWS_ENDPOINT_URL_S3 and the credentials, then run the "
            "command again: it goes on where it stopped",
        ) from error
