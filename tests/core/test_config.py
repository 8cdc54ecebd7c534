"""Configurations refuse what they don't know, and say what they do know."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from hemlets.core.config import Config, read_toml
from hemlets.core.errors import ConfigError
from hemlets.training.config import StageJob


class Inner(Config):
    backend: Literal["Local", "S3"] = "Local"
    rate: float = Field(1.0, gt=0)


class Outer(Config):
    inner: Inner = Inner()
    many: dict[str, Inner] = Field(default_factory=dict)
    count: int


def _message(values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        Outer.from_mapping(values, where="profile.toml")
    return str(caught.value)


def test_an_unknown_key_is_named_with_its_section_and_the_choices() -> None:
    message = _message({"count": 1, "inner": {"rat": 2.0}})
    assert "unknown key 'inner.rat'" in message
    assert "did you mean 'rate'?" in message
    assert "known keys: backend, rate" in message
    assert "where: profile.toml" in message


def test_an_unknown_key_in_a_named_section_lists_that_sections_keys() -> None:
    assert "unknown key 'many.a.x'; known keys: backend, rate" in _message(
        {"count": 1, "many": {"a": {"x": 1}}}
    )


def test_an_unknown_section_lists_the_sections() -> None:
    assert "known keys: inner, many, count" in _message({"count": 1, "outer": {}})


def test_a_wrong_choice_is_given_back_with_the_choices_as_they_are_written() -> None:
    message = _message({"count": 1, "inner": {"backend": "s3"}})
    assert "inner.backend = 's3'" in message
    assert "'Local' or 'S3'" in message


def test_a_missing_key_is_named() -> None:
    assert "missing key 'count'" in _message({})


def test_all_faults_are_told_at_once() -> None:
    message = _message({"inner": {"rate": -1.0}, "x": 1})
    assert "inner.rate = -1.0" in message
    assert "'x'" in message
    assert "'count'" in message


@pytest.mark.parametrize("value", ["1", 1.5, True, None])
def test_a_value_of_another_type_is_refused_rather_than_converted(value: Any) -> None:
    assert f"count = {value!r}" in _message({"count": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: Any) -> None:
    message = _message({"count": 1, "inner": {"rate": value}})
    assert "inner.rate" in message
    assert "finite" in message


def test_an_integer_is_a_number() -> None:
    assert Outer.from_mapping({"count": 1, "inner": {"rate": 2}}).inner.rate == 2.0


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Inner().rate = 2.0  # type: ignore[misc]


def test_the_hash_depends_on_values_and_not_on_their_order() -> None:
    a = Outer.from_mapping({"count": 1, "inner": {"rate": 2.0}})
    b = Outer.from_mapping({"inner": {"rate": 2.0}, "count": 1})
    assert a.hash == b.hash
    assert a.hash != Outer.from_mapping({"count": 2, "inner": {"rate": 2.0}}).hash


def test_a_job_survives_its_json() -> None:
    job = StageJob.from_mapping(
        {
            "stage": "pose", "pose": {}, "shape": {}, "losses": {}, "augmentation": {},
            "training": {"steps": 3}, "data": "data", "out": "out",
        }
    )  # fmt: skip
    assert StageJob.model_validate_json(job.model_dump_json()) == job


def test_maps_that_do_not_fit_the_crop_are_refused_by_their_section() -> None:
    with pytest.raises(ConfigError) as caught:
        StageJob.from_mapping(
            {
                "stage": "pose", "pose": {"crop_px": 128, "volume_cells": 64}, "shape": {},
                "losses": {}, "augmentation": {}, "training": {"steps": 3}, "data": "d", "out": "o",
            }
        )  # fmt: skip
    assert "pose: crop_px = 128 and volume_cells = 64 don't fit" in str(caught.value)


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for mark in ("", "\ufeff"):
        path.write_text(f"{mark}[inner]\nrate = 2.0\n", encoding="utf-8")
        assert read_toml(path) == {"inner": {"rate": 2.0}}


@pytest.mark.parametrize("text", [b"rate = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"not TOML[\s\S]*a\.toml"):
        read_toml(path)


def test_a_toml_file_of_another_encoding_is_to_be_saved_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("rate = 2.0", encoding="utf-16")
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        read_toml(tmp_path / "a.toml")


def test_a_folder_in_place_of_a_toml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read") as caught:
        read_toml(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_toml(tmp_path / "absent.toml")
