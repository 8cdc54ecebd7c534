"""``hemlets data validate``: a data version against the suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["validate"]


def validate(
    folder: Annotated[
        Path, typer.Argument(help="Data version: a folder with annotations.parquet and shards.")
    ],
    previous: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Earlier version to compare distributions with."),
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where report and Data Docs go; beside the version as NAME.validation if omitted.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print what was found as one line of JSON.")
    ] = False,
) -> None:
    """Check a data version before anything is trained on it.

    Names the rows and fields of every fault, says which of them stop a retraining, and writes
    pages with pictures. Ends with exit code 3 where one does.
    """
    import json as json_module

    from data_checks.validate import TABLE_FILE
    from data_checks.validate import validate as hold
    from hemlets.core.errors import DataError, ValidationFailed

    for version in (folder, previous):
        if version is not None and not (version / TABLE_FILE).is_file():
            raise DataError(
                "this is no data version: it has no annotation table",
                where=version,
                expected=TABLE_FILE,
                remedy="name a folder that ingest or render wrote",
            )
    where = folder.resolve()
    out = docs or where.with_name(f"{where.name}.validation")
    result = hold(folder, out, previous=previous)
    if json:
        print(json_module.dumps(result.to_json()))
    elif result.passed:
        print(result.message())
    if not result.passed:
        raise ValidationFailed(
            result.message(),
            where=folder / TABLE_FILE,
            remedy="mend or remove these rows, or the code that made them, and validate again",
        )
