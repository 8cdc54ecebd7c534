"""The expectations as Great Expectations suites, and what these say about frames.

Everything of Great Expectations that the project uses is here and in `data_checks.docs`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_checks.check import Check, Severity
from data_checks.columns.base import Array

if TYPE_CHECKING:
    from great_expectations.core import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PandasDatasource
    from great_expectations.expectations.expectation import Expectation

_ROWS_IN_DOCS = 20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Columns to be validated by one suite.

    Attributes:
        name: Name of the suite and its page.
        index: Name of each row: sample ids, splits, joints.
        columns: Values by expectation name.
        checks: The expectations, each of which bounds the column of its name.
        note: What the pages say of how these rows were chosen.
    """

    name: str
    index: Sequence[str]
    columns: Mapping[str, Array]
    checks: Sequence[Check]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An expectation that failed on a frame.

    Attributes:
        frame: Name of the frame.
        check: The expectation.
        rows: Rows of the frame that Great Expectations calls unexpected.
    """

    frame: str
    check: Check
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What Great Expectations found.

    Attributes:
        evaluated: Number of expectations.
        failures: Those that failed.
        results: Its own validation results as JSON values.
    """

    evaluated: int
    failures: tuple[Failure, ...]
    results: list[dict[str, Any]]


def run_suites(frames: Sequence[Frame], docs: Path) -> Outcome:
    """Validate frames in an ephemeral context and build Data Docs.

    Args:
        frames: What to validate.
        docs: An empty folder for the Data Docs site.
    """
    context = _context(docs)
    source = context.data_sources.add_pandas("data_version")
    failures: list[Failure] = []
    results: list[dict[str, Any]] = []
    evaluated = 0
    for frame in frames:
        result = _validate(context, source, frame)
        by_name = {check.name: check for check in frame.checks}
        for item in result.results:
            evaluated += 1
            check = by_name[item.expectation_config.meta["name"]]
            if not item.success:
                failures.append(
                    Failure(frame=frame.name, check=check, rows=_unexpected_rows(item, frame))
                )
        results.append(result.to_json_dict())
    context.build_data_docs()
    return Outcome(evaluated=evaluated, failures=tuple(failures), results=results)


def _context(docs: Path) -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={"local": site},
        analytics_enabled=False,
        progress_bars={"globally": False, "metric_calculations": False},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _validate(
    context: EphemeralDataContext, source: PandasDatasource, frame: Frame
) -> ExpectationSuiteValidationResult:
    import great_expectations as gx
    import pandas as pd

    # Data Docs put index values into their pages as they are; names come from the data.
    index = {
        "row": np.arange(len(frame.index)),
        "name": [html.escape(str(name)) for name in frame.index],
    }
    columns = {
        name: [html.escape(str(v)) for v in values] if values.dtype == object else values
        for name, values in frame.columns.items()
    }
    suite = context.suites.add(
        gx.ExpectationSuite(
            name=frame.name,
            expectations=[_expectation(check, frame.note) for check in frame.checks],
        )
    )
    batch = source.add_dataframe_asset(frame.name).add_batch_definition_whole_dataframe("whole")
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=frame.name, data=batch, suite=suite)
    )
    return definition.run(
        batch_parameters={"dataframe": pd.DataFrame(index | columns)},
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["row", "name"],
            "partial_unexpected_count": _ROWS_IN_DOCS,
            "return_unexpected_index_query": False,
        },
    )


def _expectation(check: Check, note: str) -> Expectation:
    import great_expectations.expectations as gxe

    common: dict[str, Any] = {
        "column": check.name,
        "description": f"{check.says} Field: {check.field}. Why: {check.reason}{note}",
        "meta": {"name": check.name, "field": check.field, "reason": check.reason},
        "severity": "critical" if check.severity is Severity.BLOCK else "warning",
    }
    if check.kind == "unique":
        return gxe.ExpectColumnValuesToBeUnique(**common)
    if check.kind == "among":
        return gxe.ExpectColumnValuesToBeInSet(**common, value_set=list(check.among))
    return gxe.ExpectColumnValuesToBeBetween(**common, min_value=check.low, max_value=check.high)


def _unexpected_rows(item: ExpectationValidationResult, frame: Frame) -> tuple[int, ...]:
    if item.exception_info and item.exception_info.get("raised_exception"):
        raise RuntimeError(f"{frame.name}: {item.exception_info.get('exception_message')}")
    listed = item.result.get("unexpected_index_list") or []
    return tuple(sorted({int(entry["row"]) for entry in listed}))
