"""The `hemlets` command. Its sub-commands are imported when they are called."""

from hemlets.cli.app import main

__all__ = ["main"]
