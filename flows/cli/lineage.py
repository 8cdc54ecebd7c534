"""``hemlets lineage``: from a model or an answer to its origins, and from a label to its models."""

from __future__ import annotations

from typing import Annotated

import typer

from hemlets.cli.options import HomeOption, JsonOption


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            help="A version's number, the model_version of an answer, champion, or a sample's id."
        ),
    ],
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show what a model was made from, or which models learnt from a sample."""
    from flows.registry.lineage import models_of_sample, origin_of, version_of
    from hemlets.cli.terminal import print_json
    from hemlets.core.workspace import Workspace

    workspace = Workspace.at(home)
    version = version_of(workspace, name)
    if version is not None:
        origin = origin_of(workspace, version)
        if json:
            print_json(origin)
            return
        for key, value in origin.items():
            values = value if isinstance(value, list) else [value]
            for number, line in enumerate(values or ["none"]):
                typer.echo(f"{key if not number else '':<16} {line}")
        return
    found = models_of_sample(workspace, name)
    if json:
        print_json(found)
        return
    for model in found:
        typer.echo(
            f"version {model['version']}: {model['use']} in data version {model['data_version']}"
            + (f" ({model['alias']})" if model["alias"] else "")
        )
