"""``hemlets doctor``: check this machine for the demo, with a remedy for each problem."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.services.checks import Check, Status
from flows.services.surroundings import (
    check_encodings,
    check_foreign_settings,
    check_proxies,
    check_server,
)
from hemlets.core.environment import MLFLOW_SERVER, PREFECT_SERVER
from hemlets.core.errors import HemletsError
from hemlets.core.ports import BusyPortError, require_free_port
from hemlets.core.redaction import redact_url
from hemlets.core.workspace import Workspace

PORTS: Final = (("MLflow", 5000), ("Prefect", 4200), ("TorchServe", 8080))
"""Default ports of `hemlets ui` and `hemlets serve`."""

_GB: Final = 1e9
_DISK_GB: Final = (2.0, 6.0)
"""Free disk space for one demo (required) and two demos (recommended)."""
_MEMORY_GB: Final = (3.0, 5.4)
"""Free memory that training needs at least, and the demo's peak."""
_SHARED_MEMORY_GB: Final = 0.25
"""Data loaders use shared memory; containers often have only 64 MB."""


_CGROUP_FILES: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""A container's memory limit and use below /sys/fs/cgroup: version 2, then version 1."""


def run_checks(workspace: Workspace, *, ports: Sequence[tuple[str, int]] = PORTS) -> list[Check]:
    """Run all checks for the demo, without changes and without starting a server.

    Args:
        workspace: Workspace to check; it need not exist.
        ports: Servers and their loopback ports.
    """
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("Python", _python),
        ("packages: hemlets", partial(_packages, "", needed=True)),
        ("packages: flows", partial(_packages, "flows", needed=True)),
        ("packages: serving", partial(_packages, "serving", needed=True)),
        ("packages: test", partial(_packages, "test", needed=False)),
        ("processor", _processor),
        ("GPU", _gpu),
        ("torchrun", _torchrun),
        ("Java", _java),
        ("programs", _programs),
        *((f"port {port}", partial(_port, name, port)) for name, port in ports),
        ("memory", _memory),
        ("shared memory", _shared_memory),
        ("disk", partial(_disk, workspace.home)),
        ("workspace", partial(_writable, workspace.home)),
        ("MLflow database", partial(_mlflow_database, workspace)),
        ("Prefect database", partial(_prefect_database, workspace)),
        ("MLflow server", partial(check_server, MLFLOW_SERVER)),
        ("Prefect server", partial(check_server, PREFECT_SERVER)),
        ("proxies", check_proxies),
        ("foreign settings", check_foreign_settings),
        ("encodings", check_encodings),
        ("assets", _assets),
        ("starter weights", _starter_weights),
    ]
    return [_run_check(name, look) for name, look in looks]


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Say what this machine has for the demo, what it lacks, and the remedy."""
    checks = run_checks(Workspace.from_env())
    failed = [check for check in checks if check.status is Status.FAIL]
    if json:
        import json as json_format

        typer.echo(json_format.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print(checks)
    if failed:
        raise typer.Exit(1)


def _print(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found and remedy", overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.remedy:
            found.append(f"\n→ {check.remedy}", style=colours[check.status])
        table.add_row(Text(check.status, style=colours[check.status]), Text(check.name), found)
    console.print(table)
    count = {status: sum(check.status is status for check in checks) for status in Status}
    if count[Status.FAIL]:
        verdict = f"{count[Status.FAIL]} of {len(checks)} checks failed: the demo can't run yet."
    elif count[Status.WARN]:
        verdict = f"The demo can run; {count[Status.WARN]} of {len(checks)} checks have a remark."
    else:
        verdict = "Everything that the demo needs is here."
    console.print(f"\n{verdict}")


def _run_check(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:
        # A check that fails with an unexpected error must not hide the others.
        return Check(
            name=name,
            status=Status.FAIL,
            found=f"could not be checked: {type(error).__name__}: {error}",
            remedy="install the project again: pip install -e '.[flows,serving]'",
        )


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info < (3, 13)
    return Check(
        name="Python",
        status=Status.OK if fits else Status.FAIL,
        found=f"{found}, {sys.executable}",
        remedy="" if fits else "make the environment with Python 3.11 or 3.12",
    )


def _packages(extra: str, *, needed: bool) -> Check:
    from packaging.requirements import Requirement

    target = f"hemlets[{extra}]" if extra else "hemlets"
    wanted = [Requirement(text) for text in importlib.metadata.requires("hemlets") or []]
    chosen = [r for r in wanted if _belongs(r.marker, extra)]
    problems: list[str] = []
    for requirement in chosen:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, needed {requirement.specifier}")
    bad = Status.FAIL if needed else Status.WARN
    return Check(
        name=f"packages: {extra or 'hemlets'}",
        status=bad if problems else Status.OK,
        found="; ".join(problems) or f"all {len(chosen)} in the needed versions",
        remedy=f"pip install '{target}'" if problems else "",
    )


def _belongs(marker: object, extra: str) -> bool:
    if marker is None:
        return not extra
    evaluate = marker.evaluate  # type: ignore[attr-defined]
    return bool(evaluate({"extra": extra})) and not (extra and evaluate({"extra": ""}))


def _processor() -> Check:
    import torch

    instructions = torch.backends.cpu.get_cpu_capability()
    flags = _cpu_flags()
    bf16 = "AMX" if "amx_bf16" in flags else "AVX-512" if "avx512_bf16" in flags else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    speed = f"bf16 by {bf16}" if bf16 else "no bf16: training runs in float32, about half as fast"
    return Check(
        name="processor",
        status=Status.OK if (cores or 1) >= 2 else Status.WARN,
        found=f"{cores} cores, {instructions}, {speed}; torch {torch.__version__}",
        remedy="" if (cores or 1) >= 2 else "one core works, but the demo takes twice as long",
    )


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check(name="GPU", status=Status.OK, found="none; the demo does not need one")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check(name="GPU", status=Status.OK, found=", ".join(names))


def _torchrun() -> Check:
    there = importlib.util.find_spec("torch.distributed.run") is not None
    return Check(
        name="torchrun",
        status=Status.OK if there else Status.FAIL,
        found="torch.distributed.run" if there else "torch has no torch.distributed.run",
        remedy="" if there else "install a full build of torch: pip install 'torch>=2.7'",
    )


def _java() -> Check:
    from serving.java import find_java

    try:
        return Check(name="Java", status=Status.OK, found=str(find_java()))
    except HemletsError as error:
        return Check(
            name="Java",
            status=Status.FAIL,
            found=f"{error.what}; tried {error.where}",
            remedy=error.remedy or "",
        )


def _programs() -> Check:
    here = Path(sys.executable).parent

    def has(program: str) -> bool:
        return shutil.which(program) is not None or (here / program).exists()

    missing = [name for name in ("git", "make", "dvc") if not has(name)]
    # DVC is called through its Python package; git is optional, for the version of the code.
    return Check(
        name="programs",
        status=Status.WARN if missing else Status.OK,
        found="missing: " + ", ".join(missing) if missing else "git, make, dvc",
        remedy=_how_to_get(missing),
    )


def _how_to_get(programs: Iterable[str]) -> str:
    ways = {
        "git": "apt-get install git (without it, runs don't carry the version of the code)",
        "make": "apt-get install make (or call `hemlets retrain` instead of `make demo`)",
        "dvc": "pip install 'hemlets[flows]'",
    }
    return "; ".join(ways[program] for program in programs)


def _port(name: str, port: int) -> Check:
    try:
        require_free_port(port, needed_by=name)
    except BusyPortError as error:
        return Check(
            name=f"port {port}",
            status=Status.WARN,
            found=error.what.removeprefix(f"port {port} "),
            remedy=f"stop the program that listens there, or start {name} on another port",
        )
    return Check(name=f"port {port}", status=Status.OK, found=f"free, for {name}")


def _graded(
    name: str, value_gb: float, limits: tuple[float, float], what: str, remedy: str
) -> Check:
    status = (
        Status.FAIL if value_gb < limits[0] else Status.WARN if value_gb < limits[1] else Status.OK
    )
    return Check(
        name=name,
        status=status,
        found=f"{value_gb:.1f} GB {what}",
        remedy="" if status is Status.OK else f"{limits[1]:g} GB are better: {remedy}",
    )


def _memory() -> Check:
    free = min(_free_memory_bytes(), default=None)
    if free is None:
        return Check(name="memory", status=Status.OK, found="unknown on this system")
    return _graded(
        "memory", free / _GB, _MEMORY_GB, "available", "close other programs, or give it more"
    )


def _free_memory_bytes() -> Iterator[int]:
    """Free memory of the machine and of the container, if known."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
    except OSError:
        return
    for limit, used in _CGROUP_FILES:
        try:
            most = Path("/sys/fs/cgroup", limit).read_text(encoding="utf-8").strip()
            if most.isdigit():
                yield int(most) - int(Path("/sys/fs/cgroup", used).read_text(encoding="utf-8"))
        except OSError:
            continue


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check(name="shared memory", status=Status.OK, found="not a folder on this system")
    free = shutil.disk_usage(folder).free / _GB
    return _graded(
        "shared memory",
        free,
        (0.0, _SHARED_MEMORY_GB),
        "free",
        "start the container with --shm-size=1g",
    )


def _existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(_existing(home)).free / _GB
    return _graded(
        "disk", free, _DISK_GB, f"free at {home}", "free some, or set HEMLETS_HOME to a larger disk"
    )


def _writable(home: Path) -> Check:
    there = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Check(
            name="workspace",
            status=Status.FAIL,
            found=f"{there} can't be written to: {error.strerror or error}",
            remedy="set HEMLETS_HOME to a folder of yours",
        )
    state = "writable" if there == home else "not made yet; can be made"
    return Check(name="workspace", status=Status.OK, found=f"{home}: {state}")


def _mlflow_database(workspace: Workspace) -> Check:
    name = "MLflow database"
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        # The query of a database URL may contain the password.
        address = redact_url(server.partition("?")[0])
        return Check(name=name, status=Status.OK, found=f"not looked at: {address} is used")
    return _database(
        name,
        workspace.mlflow / "mlflow.db",
        "runs",
        "restore it from a backup, or move it away: the next run makes a new one, without the "
        "registered models",
    )


def _prefect_database(workspace: Workspace) -> Check:
    return _database(
        "Prefect database",
        workspace.prefect / "prefect.db",
        "flow_run",
        "move it away: the next run makes a new one; models and data are not in it",
    )


def _database(name: str, file: Path, table: str, remedy: str) -> Check:
    if not file.exists():
        return Check(name=name, status=Status.OK, found="not made yet")
    try:
        with closing(
            sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2.0)
        ) as database:
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            runs = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return Check(name=name, status=Status.OK, found=f"{file}: in use")
        verdict, runs = str(error), 0
    except sqlite3.DatabaseError as error:
        verdict, runs = str(error), 0
    good = verdict == "ok"
    return Check(
        name=name,
        status=Status.OK if good else Status.FAIL,
        found=f"{file}: {runs} runs" if good else f"{file} can't be read: {verdict}",
        remedy="" if good else remedy,
    )


def _assets() -> Check:
    from hemlets.assets import verify_assets

    try:
        names = verify_assets()
    except HemletsError as error:
        return Check(name="assets", status=Status.FAIL, found=error.what, remedy=error.remedy or "")
    return Check(name="assets", status=Status.OK, found=f"{len(names)} files, as they should be")


def _starter_weights() -> Check:
    from hemlets.assets import ASSETS_FOLDER

    folder = ASSETS_FOLDER / "starter"
    missing = [n for n in ("model.json", "model.safetensors") if not (folder / n).is_file()]
    return Check(
        name="starter weights",
        status=Status.FAIL if missing else Status.OK,
        found=f"{folder} lacks {' and '.join(missing)}" if missing else str(folder),
        remedy="install hemlets again, or train from random weights with the profile scratch"
        if missing
        else "",
    )
