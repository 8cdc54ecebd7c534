"""A user's suite file adds, changes and switches off expectations; a wrong one is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from data_checks import validate as validation
from data_checks.overlay import Overlay, list_expectations
from data_checks.result import ValidationResult
from hemlets.cli.data import validate as command
from hemlets.core.errors import ConfigError

Columns = dict[str, Any]

SUITE = """
add:
  small_heads:
    column: head_px
    at_most: 10
    where: {split: [train, test]}
    severity: warn
    reason: Heads of this studio are small.
  clip_names:
    column: clip
    matches: '.*[^x]'
    where: {split: train}
    reason: A clip's name is read by another tool.
  lean:
    column: skeleton_size
    at_most: 100
    where: {split: nowhere}
    reason: Never applies.
change:
  betas_plausible: {at_most: 12, reason: Our bodies are extreme.}
  box_large_enough: {severity: warn, reason: We crop by hand.}
switch_off:
  frame_counts_up: Our frames count from -5.
  every_joint_moves: A single pose is wanted.
"""


@pytest.fixture(scope="module")
def posts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that keeps what is posted to it."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()


def faulty(columns: Columns) -> Columns:
    columns["betas"][3, 0] = 9
    columns["betas"][4, 0] = 13
    columns["frame"][5] = -5
    columns["head_px"][[6, 30]] = 11
    columns["clip"][7] = "walk-x"
    columns["clip"][-1] = "run-x"
    columns["box_xyxy"][8] = (50, 50, 53, 53)
    return columns


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, posts: tuple[str, list[Any]]) -> Path:
    path = tmp_path_factory.mktemp("suite") / "ours.yaml"
    notify = [
        {"type": "webhook", "url": "http://127.0.0.1:9/nobody"},
        {"type": "webhook", "url": "${OUR_HOOK}", "notify_on": "failure"},
        {"type": "webhook", "url": posts[0], "notify_on": "success"},
    ]
    path.write_text(SUITE + yaml.safe_dump({"notify": notify}))
    return path


@pytest.fixture(scope="module")
def result(
    version: Callable[[Columns], Path],
    fresh: Callable[[], Columns],
    suite: Path,
    posts: tuple[str, list[Any]],
) -> ValidationResult:
    folder = version(faulty(fresh()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUR_HOOK", posts[0])
        return validation.validate(folder, folder.with_name("out"), overlay=suite)


def rows(result: ValidationResult, expectation: str) -> set[int]:
    for finding in (*result.blocking, *result.warnings):
        if finding.expectation == expectation:
            return {row.number for row in finding.rows}
    return set()


def test_an_added_expectation_applies_where_it_says(result: ValidationResult):
    assert rows(result, "small_heads") == {6}
    assert rows(result, "clip_names") == {7}
    assert {f.expectation for f in result.warnings} >= {"small_heads"}
    assert "clip_names" in {f.expectation for f in result.blocking}


def test_a_changed_bound_and_severity_hold(result: ValidationResult):
    assert rows(result, "betas_plausible") == {4}
    finding = next(f for f in result.blocking if f.expectation == "betas_plausible")
    assert "Changed in ours.yaml to at most 12.0: Our bodies are extreme." in finding.says
    assert "box_large_enough" in {f.expectation for f in result.warnings}


def test_what_is_switched_off_is_not_evaluated(result: ValidationResult):
    assert rows(result, "frame_counts_up") == set()
    evaluated = (result.report.parent / "great_expectations.json").read_text()
    assert "frame_counts_up" not in evaluated
    assert "box_inside_image" in evaluated


def test_result_and_report_state_what_the_suite_file_changed(result: ValidationResult, suite: Path):
    assert ValidationResult.read(result.report.parent) == result
    assert result.suite["switched_off"]["frame_counts_up"] == "Our frames count from -5."
    assert "Suite file ours.yaml: 3 added, 2 changed, 2 switched off" in result.message()
    report = result.report.read_text()
    for text in ("ours.yaml", "Our frames count from -5.", "Our bodies are extreme."):
        assert text in report


def test_a_failed_validation_is_posted_and_a_dead_address_does_no_harm(
    result: ValidationResult, posts: tuple[str, list[dict[str, Any]]]
):
    (post,) = posts[1]
    assert post["passed"] is False
    failed = {item["expectation"]: item for item in post["failed"]}
    assert failed["betas_plausible"]["rows"] == 1
    assert failed["betas_plausible"]["severity"] == "critical"
    assert set(failed) == {f.expectation for f in (*result.blocking, *result.warnings)}


def test_a_large_table_gives_the_same(
    version: Callable[[Columns], Path],
    fresh: Callable[[], Columns],
    result: ValidationResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = tmp_path / "ours.yaml"
    path.write_text(SUITE)
    monkeypatch.setattr(validation, "WHOLE_ROWS", 10)
    extreme = validation.validate(version(faulty(fresh())), tmp_path / "out", overlay=path)

    def found(some: ValidationResult) -> set[Any]:
        return {
            (f.expectation, f.count, frozenset(f.rows)) for f in (*some.blocking, *some.warnings)
        }

    assert found(extreme) == found(result)


WRONG = {
    "a name that nothing has": (
        "change:\n  bones_symetric: {at_most: 2, reason: r}\n", 2, "bones_symmetric"),
    "an unknown section": ("switchoff: {}\n", 1, "did you mean 'switch_off'"),
    "an unknown key": (
        "change:\n  betas_plausible:\n    atmost: 2\n    reason: r\n", 3, "at_most"),
    "a bound that is text": (
        "change:\n  betas_plausible:\n    reason: r\n    at_most: wide\n", 4, "number"),
    "a change without a reason": ("change:\n  betas_plausible: {at_most: 2}\n", 2, "reason"),
    "no reason to switch off": ("switch_off:\n  betas_plausible: ''\n", 2, "a sentence"),
    "an expectation that the rest stands on": (
        "switch_off:\n  schema_matches: r\n", 2, "can't be changed"),
    "changed and switched off": (
        "change:\n  betas_plausible: {at_most: 2, reason: r}\nswitch_off:\n"
        "  betas_plausible: r\n", 4, "one of change and switch_off"),
    "numbers for text": (
        "change:\n  split_known: {at_most: 2, reason: r}\n", 2, "one_of or matches"),
    "bounds that cross": (
        "change:\n  skeleton_size: {at_least: 3000, reason: r}\n", 2, "above at_most 2600"),
    "an unknown field": (
        "add:\n  ours:\n    column: focal\n    at_least: 2\n    reason: r\n", 2, "camera"),
    "an unknown entry": (
        "add:\n  ours:\n    column: camera.f\n    at_least: 2\n    reason: r\n", 2, "fx, fy"),
    "no entry": (
        "add:\n  ours:\n    column: camera\n    at_least: 2\n    reason: r\n", 2, "fx, fy"),
    "a name that is taken": (
        "add:\n  box_ordered:\n    column: frame\n    at_least: 2\n    reason: r\n", 2,
        "another name"),
    "no bound": ("add:\n  ours: {column: frame, reason: r}\n", 2, "at_least, at_most"),
    "a condition on numbers": (
        "add:\n  ours: {column: frame, at_least: 1, reason: r, where: {frame: '1'}}\n", 2,
        "holds no text"),
    "a key twice": (
        "switch_off:\n  betas_plausible: r\n  betas_plausible: s\n", 3, "given twice"),
    "a key twice in a list": (
        "notify:\n  - type: webhook\n    url: a\n    url: b\n", 4, "given twice"),
    "no YAML": ("add: [\n", 2, "not YAML"),
    "a list for a key": ("switch_off:\n  ? [a]\n  : b\n", 2, "unhashable key"),
    "an unknown notification": ("notify:\n  - {type: pigeon}\n", 2, "webhook, slack"),
    "a notification without an address": ("notify:\n  - {type: webhook}\n", 2, "url"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_line_and_choices(
    tmp_path: Path, text: str, line: int, told: str
):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as refused:
        Overlay.read(path)

    assert refused.value.where == f"{path}, line {line}"
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("add: &a {x: *a}\n", "missing key"),
        ("add: 2024-13-45\n", "not YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)),
         "unknown"),
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str, message: str):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"{message}[\s\S]*wrong\.yaml"):
        Overlay.read(path)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        Overlay.read(tmp_path / "none.yaml")


def test_the_command_takes_a_suite_file(rendered: Path, tmp_path: Path):
    path = tmp_path / "wrong.yaml"
    path.write_text("change:\n  nothing: {}\n")
    app = typer.Typer()
    app.command()(command)

    ended = CliRunner().invoke(
        app, [str(rendered), "--suite", str(path), "--docs", str(tmp_path / "pages")]
    )

    assert isinstance(ended.exception, ConfigError)
    assert f"{path}, line 2" in str(ended.exception)


def test_the_list_of_expectations_has_the_changes_of_a_suite_file(suite: Path):
    listed = yaml.safe_load(list_expectations(suite))

    assert listed["SMPL"]["betas_plausible"]["at_most"] == 12
    assert listed["added"]["clip_names"]["matches"] == ".*[^x]"
    assert "frame_counts_up" not in listed["rows"]
    assert "frame_counts_up" in yaml.safe_load(list_expectations())["rows"]


def test_entries_that_are_not_annotated_are_not_bounded(columns: Columns):
    from types import SimpleNamespace

    from data_checks.fields import measure_column
    from data_checks.rows import Rows
    from hemlets.data.table import Annotations

    columns["valid2d"][0, 9] = False
    table = Annotations.from_columns(columns)
    rows = Rows(
        table=table, numbers=np.arange(60), census=SimpleNamespace(), shards=Path()
    )  # fmt: skip
    values = measure_column(rows, "joints2d_px.nose.x").values
    assert np.isnan(values[0])
    assert values[1] == columns["joints2d_px"][1, 9, 0]
