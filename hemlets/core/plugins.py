"""Find functions that packages above `hemlets` register as entry points.

The library imports no orchestrator and no validator. Packages that have one register functions or
modules in the entry-point group ``hemlets.plugins`` for the library's commands.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from hemlets.core.errors import ConfigError

GROUP: Final = "hemlets.plugins"


def has_plugin(name: str) -> bool:
    """Return whether a plugin is registered under a name."""
    return bool(entry_points(group=GROUP, name=name))


def load_plugin(name: str) -> Any:
    """Import the plugin of a name.

    Raises:
        ConfigError: None is registered, or it can't be imported.
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
