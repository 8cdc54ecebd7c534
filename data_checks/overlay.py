"""A user's suite file: expectations that are added, changed or switched off, and notifications.

The built-in ``suites/*.yaml`` have the same form. An example::

    add:
      studio_focal_length:
        column: camera.fx
        at_least: 1000
        where: {source: studio}
        reason: Our cameras have fixed lenses.
    change:
      bones_symmetric: {at_most: 1.3, reason: Our suits are loose at the knees.}
    switch_off:
      camera_pixels_square: Our lenses are anamorphic.
    notify:
      - {type: webhook, url: "${VALIDATION_WEBHOOK}", notify_on: failure}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError, model_validator

from data_checks.fields import find_column, is_text, measure_column
from data_checks.rows import Rows
from data_checks.rule import RULES, Measured, Rule, Severity, register
from hemlets.core.config import Config, explain
from hemlets.core.errors import ConfigError
from hemlets.core.files import sha256_file

_SUITES = Path(__file__).parent / "suites"
ADDED: Final = "added"
"""Suite of the expectations that a user adds."""

_FIXED: Final = ("schema_matches", "no_nulls")
"""Without these the table can't be read, so they can't be changed."""

_PERMITTED_VALUES: Final = ("at_least", "at_most", "one_of", "matches")


class _Bound(Config):
    """Accepted values."""

    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    matches: str = ""
    severity: Severity | None = None

    @model_validator(mode="after")
    def _consistent(self) -> _Bound:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ValueError(f"matches is no regular expression: {error}") from None
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The bounds that are set."""
        values = {name: getattr(self, name) for name in _PERMITTED_VALUES}
        return {name: value for name, value in values.items() if value not in (None, (), "")}

    def text(self) -> str:
        """The bounds as words."""
        words = [
            f"{name.replace('_', ' ')} {', '.join(v) if isinstance(v, tuple) else v}"
            for name, v in self.given.items()
        ]
        return " and ".join(words + ([f"severity {self.severity}"] if self.severity else []))


class Change(_Bound):
    """Another bound or severity of an expectation."""

    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _changes_something(self) -> Change:
        if not self.given and self.severity is None:
            raise ValueError(f"nothing is changed; give {', '.join(_PERMITTED_VALUES)} or severity")
        return self


class Addition(_Bound):
    """A bound on a column of the annotation table, or on a built-in rule's measurement.

    Attributes:
        column: A field (``frame``), an entry of one (``camera.fx``), or a rule of rows by name.
        where: Text fields and their accepted value or values.
        says: The expectation as a sentence; generated from the bound if empty.
        reason: Consequence of a failure.
    """

    column: str
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    says: str = ""
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Addition:
        if not self.given:
            raise ValueError(f"there is no bound; give {', '.join(_PERMITTED_VALUES)}")
        if self.column not in RULES:
            find_column(self.column)
        elif RULES[self.column].suite == "dataset" or RULES[self.column].is_text:
            raise ValueError(f"{self.column} measures no number per row")
        _refuse_misfit(self, text=self.column not in RULES and is_text(self.column))
        for name in self.where:
            find_column(name)
            if not is_text(name):
                raise ValueError(f"where: {name} holds no text")
        return self

    def rule(self, name: str, suite: str) -> Rule:
        """Convert the addition to a rule."""
        condition = ", ".join(f"{field} {value}" for field, value in self.where.items())
        says = self.says or f"{self.column} is {self.text()}{condition and f' ({condition})'}."
        base = RULES.get(self.column)
        return Rule(
            name=name, suite=suite, field=base.field if base else self.column.split(".")[0],
            says=says, reason=self.reason, severity=self.severity or Severity.BLOCK,
            measure=self._measure, **self.given,
        )  # fmt: skip

    def _measure(self, rows: Rows) -> Measured:
        rule = RULES.get(self.column)
        measured = rows.measured(rule) if rule else measure_column(rows, self.column)
        for name, accepted in self.where.items():
            values = [accepted] if isinstance(accepted, str) else accepted
            measured = measured.where(rows.equals(name, values))
        return measured


class _File(Config):
    add: dict[str, Addition] = Field(default_factory=dict)
    change: dict[str, Change] = Field(default_factory=dict)
    switch_off: dict[str, str] = Field(default_factory=dict)
    notify: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Changes of the built-in suites.

    Attributes:
        file: Name of the suite file; empty without one.
        sha256: Hash of its content.
        added: Expectations by name.
        changed: Other bounds by the expectation's name.
        switched_off: Reasons by the expectation's name.
        notify: Great Expectations actions that run after validation, as their settings.
    """

    file: str = ""
    sha256: str = ""
    added: dict[str, Rule] = field(default_factory=dict)
    changed: dict[str, Change] = field(default_factory=dict)
    switched_off: dict[str, str] = field(default_factory=dict)
    notify: tuple[dict[str, Any], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Overlay:
        """Read a user's suite file.

        Raises:
            ConfigError: The file is absent, is not YAML, or has a wrong key, name or value. Names
                file and line, what was expected, and the choices.
        """
        import data_checks.rules  # noqa: F401 - registers the built-in rules

        values, data = _read(path)
        for name in values.add:
            _require(name not in RULES, path, data, ("add", name), "there is an expectation of "
                     "this name already", "another name, or an entry under change")  # fmt: skip
        for section, names in (("change", values.change), ("switch_off", values.switch_off)):
            for name in names:
                _require_known(name, path, data, (section, name))
        for name, reason in values.switch_off.items():
            place = ("switch_off", name)
            _require(bool(reason.strip()), path, data, place, "no reason is given", "a sentence")
            _require(name not in values.change, path, data, place, "the expectation is changed, "
                     "too", "one of change and switch_off")  # fmt: skip
        for name, change in values.change.items():
            try:
                _refuse_misfit(change, text=RULES[name].is_text)
                _changed(RULES[name], change)
            except ValueError as error:
                _require(False, path, data, ("change", name), str(error), "a bound that fits")
        if values.notify:
            from data_checks.actions import find_action

            for number, settings in enumerate(values.notify):
                try:
                    find_action(settings)
                except ValueError as error:
                    _require(False, path, data, ("notify", number), str(error), "see the choices")
        return cls(
            file=path.name,
            sha256=sha256_file(path),
            added={name: added.rule(name, ADDED) for name, added in values.add.items()},
            changed=values.change,
            switched_off=values.switch_off,
            notify=values.notify,
        )

    def of(self, rule: Rule) -> Rule | None:
        """Return a rule with its changes; None if it is switched off."""
        if rule.name in self.switched_off:
            return None
        change = self.changed.get(rule.name)
        if change is None:
            return rule
        says = f"{rule.says} Changed in {self.file} to {change.text()}: {change.reason}"
        return replace(_changed(rule, change), says=says)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "added": {name: rule.says for name, rule in self.added.items()},
            "changed": {name: f"{c.text()}: {c.reason}" for name, c in self.changed.items()},
            "switched_off": self.switched_off,
        }


def _changed(rule: Rule, change: Change) -> Rule:
    changed = replace(rule, **change.given, severity=change.severity or rule.severity)
    low, high = changed.at_least, changed.at_most
    if low is not None and high is not None and low > high:
        raise ValueError(f"at_least {low:g} would be above at_most {high:g}")
    return changed


def _refuse_misfit(bound: _Bound, *, text: bool) -> None:
    numeric, textual = _PERMITTED_VALUES[:2], _PERMITTED_VALUES[2:]
    for name in bound.given:
        if name in (numeric if text else textual):
            kind, fitting = ("text", textual) if text else ("numbers", numeric)
            raise ValueError(f"{name} does not fit {kind}; give {' or '.join(fitting)}")


def list_expectations(suite: Path | None = None) -> str:
    """List every expectation as YAML, by its suite: bound, severity, words."""
    import yaml

    import data_checks.rules  # noqa: F401 - registers the built-in rules

    overlay = Overlay() if suite is None else Overlay.read(suite)
    listed: dict[str, dict[str, Any]] = {}
    for built_in in (*RULES.values(), *overlay.added.values()):
        rule = overlay.of(built_in)
        if rule is not None:
            values = {name: getattr(rule, name) for name in _PERMITTED_VALUES}
            listed.setdefault(rule.suite, {})[rule.name] = {
                "field": rule.field,
                **{n: list(v) if isinstance(v, tuple) else v for n, v in values.items()
                   if v not in (None, (), "")},
                "severity": str(rule.severity), "says": rule.says, "reason": rule.reason,
            }  # fmt: skip
    text: str = yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=100)
    return text


def load_built_in() -> None:
    """Register the expectations of the built-in suite files."""
    for path in sorted(_SUITES.glob("*.yaml")):
        for name, added in _read(path)[0].add.items():
            register(added.rule(name, "rows"))


def _read(path: Path) -> tuple[_File, Any]:
    """Return values of a suite file, and its YAML nodes with line numbers."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text) or {}
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        for key in _repeated(node, set()):
            line = key.start_mark.line + 1
            raise ConfigError(f"{key.value!r} is given twice", where=f"{path}, line {line}",
                              remedy="join the two entries")  # fmt: skip
    except FileNotFoundError:
        raise ConfigError.missing("the suite file", path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the suite file can't be read: {error}", where=path) from None
    except RecursionError:
        raise ConfigError("the file is nested too deeply", where=path) from None
    except (yaml.YAMLError, ValueError) as error:
        # A date that does not exist is a ValueError.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"the file is not YAML: {problem}", where=f"{path}{line}") from None
    try:
        return _File.model_validate(values, strict=False), node
    except ValidationError as error:
        item = error.errors()[0]
        raise ConfigError(
            explain(_File, item),
            where=f"{path}, line {_line(node, item['loc'])}",
            expected=f"sections {', '.join(_File.model_fields)}" if len(item["loc"]) < 2 else None,
            remedy="correct the suite file; hemlets data expectations lists names and bounds",
        ) from None


def _repeated(node: Any, visited: set[int]) -> Iterator[Any]:
    """Return repeated keys of mappings; aliases of visited nodes are left out."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if node is not None and node.id == "sequence":
        for item in node.value:
            yield from _repeated(item, visited)
    pairs = node.value if node is not None and node.id == "mapping" else ()
    seen: set[str] = set()
    for key, value in pairs:
        if key.value in seen:
            yield key
        seen.add(key.value)
        yield from _repeated(value, visited)


def _line(node: Any, location: tuple[int | str, ...]) -> int:
    """Return the line of the deepest node on the way to a location, from 1."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in location:
        if node is not None and node.id == "mapping":
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif node is not None and node.id == "sequence" and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _require(
    holds: bool, path: Path, node: Any, location: tuple[int | str, ...], what: str, expected: str
) -> None:
    if not holds:
        raise ConfigError(
            f"{'.'.join(map(str, location))}: {what}",
            where=f"{path}, line {_line(node, location)}",
            expected=expected,
            remedy="correct the suite file; hemlets data expectations lists names and bounds",
        )


def _require_known(name: str, path: Path, node: Any, location: tuple[str, str]) -> None:
    import difflib

    close = ", ".join(difflib.get_close_matches(name, RULES, n=3)) or ", ".join(RULES)
    _require(name in RULES, path, node, location, "there is no such expectation", close)
    _require(name not in _FIXED, path, node, location, "the expectation can't be changed, as "
             "without it the table can't be read", "another expectation")  # fmt: skip
