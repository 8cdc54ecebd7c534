"""Entry point of the command: find sub-commands, run one, and convert errors to messages.

Sub-commands are entry points of the group ``hemlets.commands``: a name, and a function or
`typer.Typer` app. Listing them imports none of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from hemlets.cli.boundary import INTERRUPTED, handle_errors, prepare_streams
from hemlets.cli.summaries import summary
from hemlets.core.environment import put_project_first
from hemlets.core.errors import ConfigError
from hemlets.core.process_setup import prepare_process

GROUP: Final = "hemlets.commands"
# typer's class of a context and of a command is another one from version to version.
Context = Any
Command = Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `hemlets` command.

    Args:
        argv: Arguments after the program's name; those of this process when omitted.

    Returns:
        The exit code: 0, a `HemletsError`'s own, 2 for wrong usage, 70 for an error that was not
        foreseen, 130 after Ctrl-C.
    """
    prepare_streams()
    put_project_first()
    prepare_process()
    try:
        given = sys.argv[1:] if argv is None else argv
        _app()(args=[_with_home(argument) for argument in given], prog_name="hemlets")
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def _app() -> typer.Typer:
    app = typer.Typer(
        cls=_Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain text: drawing boxes would more than double the time that --help takes.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_hemlets)
    return app


def _with_home(argument: str) -> str:
    """Expand ``~/`` at the start of an argument or after ``--option=``, as some shells don't."""
    option, mark, rest = re.fullmatch(r"(--[\w-]+=)?(~/)?(.*)", argument, re.DOTALL).groups("")  # type: ignore[union-attr]
    home = os.path.expanduser(mark) if mark else ""  # noqa: PTH111 - it never raises
    return f"{option}{home}{rest}"


def _print_version(asked: bool) -> None:
    if asked:
        from hemlets import __version__

        typer.echo(f"hemlets {__version__}")
        raise typer.Exit


def _hemlets(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """HEMlets PoSh: 3D human pose and shape from photos, and the loop that retrains it.

    Each command has its own --help. HEMLETS_HOME names the folder that holds all state;
    HEMLETS_DEBUG=1 shows the traceback behind an error message.
    """


class _Unloaded(TyperCommand):
    """A sub-command by name and summary, before it is imported."""

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(entry.name, rich_markup_mode=None)
        self.entry = entry

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the summary, only when the list of commands is printed."""
        return summary(self.entry)


class _Commands(TyperGroup):
    """The commands of the entry-point group."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            self.commands.setdefault(entry.name, _Unloaded(entry))

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command, list[str]]:
        """Find the called command and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, _Unloaded):
            return name, handle_errors(lambda: _load(command.entry)), rest
        return name, command, rest

    def invoke(self, ctx: Context) -> object:
        """Run the command; convert our errors to a message and an exit code."""
        return handle_errors(lambda: super(_Commands, self).invoke(ctx))


def _load(entry: EntryPoint) -> Command:
    try:
        loaded = entry.load()
    except ImportError as error:
        package = entry.module.partition(".")[0]
        extra = "" if package == "hemlets" else f"[{package}]"
        raise ConfigError(
            f"the command {entry.name!r} can't be loaded: {error}",
            where=entry.value,
            remedy=f"install what it needs with: pip install 'hemlets{extra}'",
        ) from error
    except AttributeError as error:
        module = sys.modules.get(entry.module)
        if module is None or hasattr(module, entry.attr):
            raise
        raise ConfigError(
            f"the command {entry.name!r} is not where the installation says",
            where=entry.value,
            remedy="install the project again with: pip install -e .",
        ) from error
    if isinstance(loaded, typer.Typer):
        return typer.main.get_command(loaded)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(entry.name)(loaded)
    return typer.main.get_command(app)
