"""Rules as Great Expectations suites, validated by one checkpoint.

Everything of Great Expectations that the project uses is here and in `data_checks.docs`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from data_checks.rule import Rule, Severity
from hemlets.core.arrays import Array

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult, ValidationDefinition
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PandasDatasource
    from great_expectations.expectations.expectation import Expectation

_ROWS_IN_DOCS = 20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Measured values to be validated by one suite.

    Attributes:
        name: Name of the suite and its page.
        index: Name of each row: sample ids, splits, joints.
        columns: Values by the rule's name.
        rules: The rules, each of which bounds the column of its name.
        note: How these rows were chosen, for the pages.
    """

    name: str
    index: Sequence[str]
    columns: Mapping[str, Array]
    rules: Sequence[Rule]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A rule that failed on a frame."""

    frame: str
    rule: Rule
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Findings of Great Expectations."""

    evaluated: int
    failures: tuple[Failure, ...]
    results: list[dict[str, Any]]


def run_suites(
    frames: Sequence[Frame], docs: Path, notify: Sequence[Mapping[str, Any]] = ()
) -> Outcome:
    """Validate frames in one checkpoint, whose actions build Data Docs and send notifications.

    Args:
        frames: Values to validate.
        docs: An empty folder for the Data Docs site.
        notify: Settings of the notifications.

    Raises:
        RuntimeError: Great Expectations could not evaluate an expectation.
    """
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    from data_checks.actions import NotifyAction
    from data_checks.docs import BuildDataDocs, context_with_site

    context = context_with_site(docs)
    source = context.data_sources.add_pandas("data_version")
    with TemporaryDirectory() as folder:
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name="data version",
                validation_definitions=[
                    _definition(context, source, frame, Path(folder)) for frame in frames
                ],
                actions=[
                    BuildDataDocs(name="data docs"),
                    NotifyAction(name="notify", settings=[dict(action) for action in notify]),
                ],
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": ["row", "name"],
                    "partial_unexpected_count": _ROWS_IN_DOCS,
                    "return_unexpected_index_query": False,
                },
            )
        )
        results = list(
            checkpoint.run(run_id=RunIdentifier(run_name="validation")).run_results.values()
        )
    failures = [
        _failure(item, frame)
        for frame, result in zip(frames, results, strict=True)
        for item in result.results
        if not item.success
    ]
    return Outcome(
        evaluated=sum(len(result.results) for result in results),
        failures=tuple(failures),
        results=[result.to_json_dict() for result in results],
    )


def _definition(
    context: EphemeralDataContext, source: PandasDatasource, frame: Frame, folder: Path
) -> ValidationDefinition:
    """Build a suite, and a file with the values that it validates."""
    import great_expectations as gx
    import pandas as pd

    # Data Docs put index values into their pages as they are; names come from the data.
    index = {
        "row": np.arange(len(frame.index)),
        "name": [html.escape(str(name)) for name in frame.index],
    }
    columns = {
        name: _escaped(values) if values.dtype == object else values
        for name, values in frame.columns.items()
    }
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pd.DataFrame(index | columns).to_parquet(path)
    batch = source.add_parquet_asset(frame.name, path=path).add_batch_definition("whole")
    suite = context.suites.add(
        gx.ExpectationSuite(
            name=frame.name, expectations=[_expectation(rule, frame.note) for rule in frame.rules]
        )
    )
    return context.validation_definitions.add(
        gx.ValidationDefinition(name=frame.name, data=batch, suite=suite)
    )


def _escaped(values: Array) -> list[str | None]:
    return [None if value is None else html.escape(str(value)) for value in values]


def _expectation(rule: Rule, note: str) -> Expectation:
    import great_expectations.expectations as gxe

    common: dict[str, Any] = {
        "column": rule.name,
        "description": f"{rule.says} Field: {rule.field}. Why: {rule.reason}{note}",
        "meta": {"name": rule.name, "field": rule.field, "reason": rule.reason},
        "severity": "critical" if rule.severity is Severity.BLOCK else "warning",
    }
    if rule.unique:
        return gxe.ExpectColumnValuesToBeUnique(**common)
    if rule.one_of:
        return gxe.ExpectColumnValuesToBeInSet(**common, value_set=list(rule.one_of))
    if rule.matches:
        return gxe.ExpectColumnValuesToMatchRegex(**common, regex=f"^(?:{rule.matches})$")
    return gxe.ExpectColumnValuesToBeBetween(
        **common, min_value=rule.at_least, max_value=rule.at_most
    )


def _failure(item: ExpectationValidationResult, frame: Frame) -> Failure:
    if item.exception_info and item.exception_info.get("raised_exception"):
        raise RuntimeError(f"{frame.name}: {item.exception_info.get('exception_message')}")
    name = item.expectation_config.meta["name"]
    listed = item.result.get("unexpected_index_list") or []
    return Failure(
        frame=frame.name,
        rule=next(rule for rule in frame.rules if rule.name == name),
        rows=tuple(sorted({int(entry["row"]) for entry in listed})),
    )
