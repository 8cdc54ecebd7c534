"""A hash of the code that a data version's bytes come from: a reader and all that it imports."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hemlets.core.files import content_hash, sha256_file

_PACKAGE: Final = "hemlets."

# They say how files are written and faults are told, not what is in them.
_MACHINERY: Final = frozenset(
    f"hemlets.core.{name}"
    for name in ("config", "worker_pool", "errors", "files", "processes", "workspace")
)


def imported_modules(*names: str) -> dict[str, Path]:
    """Modules of this package that some modules import, also inside functions and by others.

    Args:
        names: Full names of modules of this package.

    Returns:
        File by name, with the modules themselves and without the package's machinery, which
        decides no byte.
    """
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = None if name in found or name in _MACHINERY else _file(name)
        if path is not None:
            found[name] = path
            waiting += _imports(path)
    return dict(sorted(found.items()))


def code_hash(*names: str) -> str:
    """SHA-256 over the sources of `imported_modules`."""
    return content_hash(
        {name: sha256_file(path) for name, path in imported_modules(*names).items()}
    )


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module itself.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith(_PACKAGE)]


def _file(name: str) -> Path | None:
    """The module's file; None where the name is a class or function of a module."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None
