"""Write the validation's page: failures, reasons, and pictures of the worst rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_checks.pictures import picture_of
from data_checks.result import Finding, ValidationResult
from data_checks.rows import Chunk
from data_checks.rule import Rule
from hemlets.data.table import ALL_SPLITS, SPLITS, ShardReader
from hemlets.reports.kit import render_page, save_page

_PICTURES_EACH = 12
_PICTURES_IN_ALL = 120


def write_report(
    path: Path,
    result: ValidationResult,
    rules: Sequence[Rule],
    *,
    shown: Chunk | None,
    splits: Mapping[str, int],
    shards: Path,
) -> None:
    """Write one self-contained HTML page.

    Args:
        path: The page.
        result: The validation's result.
        rules: All evaluated rules.
        shown: Rows for pictures; None if the table could not be read.
        splits: Rows of each split.
        shards: Folder of the image shards.
    """
    findings = (*result.blocking, *result.warnings)
    failed = {finding.expectation: finding for finding in findings}
    page = render_page(
        "report.html",
        package="data_checks",
        result=result,
        findings=[(f, _pictures(f, findings, shown, shards)) for f in findings],
        rules=[(rule, failed.get(rule.name)) for rule in rules],
        splits=[
            (split, splits.get(split, 0))
            for split in ALL_SPLITS
            if split in SPLITS or split in splits
        ]
        if shown
        else [],
        data_docs=result.data_docs.relative_to(path.parent).as_posix(),
    )
    save_page(path, page)


def _pictures(
    finding: Finding, findings: Sequence[Finding], shown: Chunk | None, shards: Path
) -> list[str | None]:
    """Return one picture, or None, for each of the finding's rows."""
    budget = max(1, min(_PICTURES_EACH, _PICTURES_IN_ALL // len(findings)))
    if shown is None:
        return [None] * len(finding.rows)
    reader = ShardReader(shards)
    place = {int(number): position for position, number in enumerate(shown.rows)}
    return [
        picture_of(shown.table, reader, place[row.number])
        if row.number >= 0 and position < budget
        else None
        for position, row in enumerate(finding.rows)
    ]
