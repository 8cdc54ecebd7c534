"""The result of a validation, as a value that can be stored, compared and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_checks.rule import Severity
from hemlets.core.errors import DataError
from hemlets.core.files import content_hash, read_json, write_json
from hemlets.core.wording import counted

RESULT_FILE = "result.json"

_ROWS_IN_MESSAGE = 5
_PAGES = ("data_docs", "report")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Row(_Value):
    """A row that failed an expectation.

    Attributes:
        number: Row of the table, from 0; -1 if the finding is not about a person.
        sample_id: The row's sample id, or the split, joint or column concerned.
        observed: The finding, as a sentence.
    """

    number: int = Field(alias="row")
    sample_id: str
    observed: str

    def __str__(self) -> str:
        return f"{self.sample_id} (row {self.number})" if self.number >= 0 else self.sample_id


class Finding(_Value):
    """One failed expectation.

    Attributes:
        expectation: Its name, see `data_checks.rules`.
        severity: Whether it blocks.
        field: Field of the annotation table.
        says: The expectation as a sentence.
        reason: Why it matters.
        observed: The finding at the worst row.
        count: Number of failing rows.
        rows: The worst of them, capped.
    """

    expectation: str
    severity: Severity
    field: str
    says: str
    reason: str
    observed: str
    count: int
    rows: tuple[Row, ...]


class ValidationResult(_Value):
    """The outcome of validating one data version.

    Attributes:
        passed: No blocking expectation failed.
        rows: Rows of the table.
        expectations: Expectations evaluated.
        blocking: Failures that stop the flow.
        warnings: Failures that don't.
        table_sha256: Hash of the table's file; empty when there is none.
        compared_with: The earlier version that label distributions were compared with, or why
            they were not.
        suite: A user's suite file: name, hash, and what it added, changed and switched off;
            empty without one.
        data_docs: Index page of Great Expectations' Data Docs.
        report: Our own page for people, with pictures.
    """

    passed: bool
    rows: int
    expectations: int
    blocking: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    table_sha256: str
    compared_with: str
    data_docs: Path
    report: Path
    suite: dict[str, Any] = Field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of data and findings, without times and paths."""
        return content_hash(self._content())

    def _content(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude=set(_PAGES))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values, with the addresses of the pages."""
        return self._content() | {
            "hash": self.hash,
            "data_docs": self.data_docs.as_uri(),
            "report": self.report.as_uri(),
        }

    def message(self) -> str:
        """Summarise expectations, fields and rows, with the pages' addresses."""
        if self.passed:
            head = f"{self.rows:,} rows passed {self.expectations} expectations"
            head += f", with {counted(len(self.warnings), 'warning')}" if self.warnings else ""
        else:
            broken = counted(len(self.blocking), "blocking expectation")
            head = f"the data version broke {broken}"
        lines = [head]
        for finding in (*self.blocking, *self.warnings):
            kind = "" if finding.severity is Severity.BLOCK else "warning: "
            names = ", ".join(str(row) for row in finding.rows[:_ROWS_IN_MESSAGE])
            more = finding.count - min(len(finding.rows), _ROWS_IN_MESSAGE)
            names += f" and {more:,} more" if more > 0 else ""
            lines += [
                f"- {kind}{finding.expectation}: field {finding.field}, {names}",
                f"  seen: {finding.observed}",
                f"  expected: {finding.says}",
            ]
        if self.suite:
            counts = ", ".join(
                f"{len(self.suite[what])} {what.replace('_', ' ')}"
                for what in ("added", "changed", "switched_off")
            )
            lines.append(f"Suite file {self.suite['file']}: {counts}")
        lines += [f"Data Docs: {self.data_docs.as_uri()}", f"Report: {self.report.as_uri()}"]
        return "\n".join(lines)

    def write(self, out: Path) -> None:
        """Write ``result.json`` atomically, with paths relative to its folder."""
        pages = {page: getattr(self, page).relative_to(out).as_posix() for page in _PAGES}
        write_json(out / RESULT_FILE, self._content() | {"hash": self.hash} | pages)

    @classmethod
    def read(cls, out: Path) -> ValidationResult:
        """Read what :meth:`write` wrote, also after the folder was moved.

        Raises:
            DataError: The file is absent, damaged or has been changed.
        """
        path = out / RESULT_FILE
        value = read_json(path)
        try:
            stated = value.pop("hash")
            pages = {page: out.resolve() / value[page] for page in _PAGES}
            result = cls.model_validate(value | pages)
        except (AttributeError, KeyError, TypeError, ValidationError) as error:
            raise DataError(
                f"this is no validation result: {error}", where=path, remedy="validate again"
            ) from error
        if result.hash != stated:
            raise DataError(
                "the validation result does not match its hash",
                where=path,
                remedy="validate again",
            )
        return result
