"""Find functions that packages above `hemlets` register as entry points.

The library imports no orchestrator and no validator. Where a command of its own needs one, the
package that has it registers the function or module in the group ``hemlets.plugins``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from hemlets.core.errors import ConfigError

GROUP: Final = "hemlets.plugins"


def has_plugin(name: str) -> bool:
    """Whether anything is registered under a name."""
    return bool(entry_points(group=GROUP, name=name))


def load_plugin(name: str) -> Any:
    """Import what is registered under a name.

    Raises:
        ConfigError: Nothing is, or it can't be imported.
    """
    for entry in entry_points(group=GROUP, name=name):
        try:
            return entry.load()
        except ImportError as error:
            raise ConfigError(
                f"the plug-in {name!r} can't be loaded: {error}",
                where=entry.value,
                remedy="install what it needs with: pip install 'hemlets[flows]'",
            ) from error
    raise ConfigError(
        f"the plug-in {name!r} is not installed",
        where=GROUP,
        remedy="install the project with its pipeline: pip install 'hemlets[flows]'",
    )
