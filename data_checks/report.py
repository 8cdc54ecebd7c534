"""The validation's page for people: what failed and why, with pictures of the worst rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_checks.expectations import Check
from data_checks.pictures import picture_of
from data_checks.result import Finding, ValidationResult
from hemlets.annotations import SPLITS, Annotations, ShardReader
from hemlets.files import atomic_path

__all__ = ["write_report"]

_PICTURES_EACH = 4
_PICTURES_IN_ALL = 60
_TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"


def write_report(
    path: Path,
    result: ValidationResult,
    checks: Sequence[Check],
    *,
    table: Annotations | None,
    shards: Path,
) -> None:
    """Write one self-contained HTML page.

    Args:
        path: The page.
        result: What was found.
        checks: Every expectation that was evaluated.
        table: The annotations; None when they could not be read.
        shards: The folder of the image shards.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    findings = (*result.blocking, *result.warnings)
    failed = {finding.expectation: finding for finding in findings}
    page = template.render(
        result=result,
        findings=[(f, _pictures(f, findings, table, shards)) for f in findings],
        checks=[(check, failed.get(check.name)) for check in checks],
        splits=_split_sizes(table),
        data_docs=result.data_docs.relative_to(path.parent).as_posix(),
    )
    with atomic_path(path) as scratch:
        scratch.write_text(page, encoding="utf-8")


def _pictures(
    finding: Finding, findings: Sequence[Finding], table: Annotations | None, shards: Path
) -> list[str | None]:
    """One picture, or None, for each of the finding's rows."""
    budget = max(1, min(_PICTURES_EACH, _PICTURES_IN_ALL // len(findings)))
    if table is None:
        return [None] * len(finding.rows)
    reader = ShardReader(shards)
    return [
        picture_of(table, reader, row.number) if row.number >= 0 and position < budget else None
        for position, row in enumerate(finding.rows)
    ]


def _split_sizes(table: Annotations | None) -> list[tuple[str, int]]:
    if table is None:
        return []
    splits = table.column("split").astype(str)
    return [(split, int((splits == split).sum())) for split in SPLITS]
