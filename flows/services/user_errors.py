"""Find the user error among the causes of a flow's failure."""

from __future__ import annotations

import errno
from typing import Final

from hemlets.core.errors import HemletsError, WorkspaceError

_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def find_user_error(error: BaseException) -> HemletsError | None:
    """Return the first of our errors, or of disk errors, in a chain of causes; None if absent."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HemletsError):
            return seen
        if isinstance(seen, OSError) and seen.errno in _DISK_ERRORS:
            return WorkspaceError(
                f"a file could not be written: {seen.strerror}",
                where=seen.filename,
                remedy="free some space or fix the permissions, then run the command again: "
                "it continues from the last finished step",
            )
        seen = seen.__cause__ or seen.__context__
    return None
