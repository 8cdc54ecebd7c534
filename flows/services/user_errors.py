"""What a person can act on in what a flow raised."""

from __future__ import annotations

import errno
from typing import Final

from hemlets.core.errors import HemletsError, WorkspaceError

__all__ = ["failure_of"]

_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def failure_of(error: BaseException) -> HemletsError | None:
    """What a person can act on in what a flow raised: our own error, or a disk that is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HemletsError):
            return seen
        if isinstance(seen, OSError) and seen.errno in _DISK_ERRORS:
            return WorkspaceError(
                f"a file could not be written: {seen.strerror}",
                where=seen.filename,
                remedy="free some space or mend the permissions, then run the command again: "
                "it goes on from the last whole stage",
            )
        seen = seen.__cause__ or seen.__context__
    return None
