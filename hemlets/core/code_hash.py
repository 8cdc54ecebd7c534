"""Hash the code that a result depends on: modules and everything that they import.

Cache keys and data versions' recipes contain such a hash. Every source file of a package is read
once per process, at the first call that needs the package: changes on disk during a long
run is not what later steps execute, because their modules are loaded by then.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from hemlets.core.files import content_hash

_ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("data_checks", "flows", "hemlets", "serving")
_ASSETS: Final = "hemlets/assets"
_ASSET_NAME: Final = re.compile(rb"""["'](\w+/[\w.-]+)["']""")

# These modules decide how files are written, workers run and errors read, never what a result is.
_MACHINERY: Final = frozenset(
    f"hemlets.core.{name}"
    for name in (
        *("code_hash", "config", "errors", "files", "ports", "processes", "supervisor"),
        *("plugins", "wording", "worker_pool", "workspace"),
    )
)
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")


@dataclass(frozen=True)
class _Source:
    path: Path
    text: bytes

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """Names that the module imports when it runs, also inside functions."""
        names: list[str] = []
        for node in _executed(ast.parse(self.text)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                # An imported name can be a module itself.
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        return tuple(name for name in names if name.partition(".")[0] in _PACKAGES)

    @cached_property
    def assets(self) -> tuple[Path, ...]:
        """Bundled files whose names, such as ``motions/motions.npz``, the module contains."""
        folder = _ROOT / _ASSETS
        named = (folder / name.decode() for name in sorted(set(_ASSET_NAME.findall(self.text))))
        return tuple(path for path in named if path.is_file())


def imported_modules(*names: str) -> dict[str, Path]:
    """Find the modules of this project that some modules import, directly or indirectly.

    Imports inside functions count; imports under ``if TYPE_CHECKING`` do not.

    Returns:
        File by module name, including ``names``, without the modules of `hemlets.core` that only
        decide how files are written and errors are worded.
    """
    return {name: source.path for name, source in _closure(names).items()}


def code_hash(*names: str) -> str:
    """SHA-256 over the sources of `imported_modules` and the data files that belong to them.

    A module's data files are the non-Python files in its folder and in ``templates`` there, and
    the bundled assets that it names.
    """
    modules = _closure(names)
    folders = {source.path.parent for source in modules.values()}
    data = {path for folder in folders for path in _files_beside(folder)}
    data |= {path for source in modules.values() for path in source.assets}
    digests = {name: _sha256(source.text) for name, source in modules.items()}
    digests |= {path.relative_to(_ROOT).as_posix(): _data_hash(path) for path in data}
    return content_hash(digests)


def _closure(names: Iterable[str]) -> dict[str, _Source]:
    found: dict[str, _Source] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name in _MACHINERY:
            continue
        # None where the name is a class or function of a module.
        source = _sources(name.partition(".")[0]).get(name)
        if source is not None:
            found[name] = source
            waiting += source.imports
    return dict(sorted(found.items()))


@cache
def _sources(package: str) -> dict[str, _Source]:
    """Every module of a package by name, read now."""
    found = {}
    for path in sorted((_ROOT / package).rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = _Source(path, path.read_bytes())
    return found


@cache
def _files_beside(folder: Path) -> tuple[Path, ...]:
    if folder == _ROOT / _ASSETS:
        # Assets count where they are named: most modules read only few of them.
        return ()
    found = (*folder.glob("*"), *(folder / "templates").glob("*"))
    return tuple(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc"))


@cache
def _data_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _executed(module: ast.Module) -> Iterator[ast.AST]:
    """Walk a module's statements, but not their expressions, without ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        yield node
        typing = isinstance(node, ast.If) and _is_type_checking(node.test)
        for block in ("orelse",) if typing else _BLOCKS:
            waiting += getattr(node, block, ())


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
