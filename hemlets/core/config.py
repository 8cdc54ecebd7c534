"""The base of every configuration: frozen, typed, strict about names and values.

A configuration is a pydantic model that is read from TOML or JSON. An unknown key or a wrong
value is refused with its full name, what was given and what may be given.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from hemlets.core.errors import ConfigError
from hemlets.core.files import content_hash


class Config(BaseModel):
    """Base of frozen settings that refuse unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Self:
        """Build from nested mappings of TOML or JSON.

        Raises:
            ConfigError: One message with every wrong key and value in it.
        """
        try:
            return cls.model_validate_json(_json(values))
        except ValidationError as error:
            raise ConfigError(
                "; ".join(explain(cls, item) for item in error.errors()), where=where
            ) from None

    @property
    def hash(self) -> str:
        """SHA-256 of all values."""
        return content_hash(self.model_dump(mode="json"))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: Absent or not TOML, with the line.
    """
    try:
        # Editors of Windows put a byte order mark in front.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError("the configuration file does not exist", where=path) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the file is not TOML: {error}", where=path, remedy="save it as UTF-8 text"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the file is not TOML: {error}", where=path) from None
    except RecursionError:
        raise ConfigError("the file is nested too deeply", where=path) from None
    except OSError as error:
        raise ConfigError(f"the file can't be read: {error.strerror}", where=path) from None


def set_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Set ``section.key=value`` of the option ``--set`` in nested settings, and return them.

    A value is TOML; what is not TOML is text.

    Raises:
        ConfigError: An override has another form, or names a value as a section.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        *sections, last = key.strip().split(".")
        if not equals or not last:
            raise ConfigError(
                f"{override!r} is no override",
                where="--set",
                expected="section.key=value, e.g. train_pose.steps=200",
            )
        target = values
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{section!r} in {override!r} is no section", where="--set")
        try:
            target[last] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            target[last] = text.strip()
    return values


def _json(values: Mapping[str, Any]) -> str:
    import json

    return json.dumps(values, default=str)


def _section(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for key in location:
        field = model.model_fields.get(str(key))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if inner is None or get_origin(inner) is not None:
            break
        model = inner
    return model


def explain(model: type[BaseModel], item: ErrorDetails) -> str:
    """Convert an error of pydantic: the wrong value and the permitted values."""
    location = item["loc"]
    name = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        choices = list(_section(model, location[:-1]).model_fields)
        close = difflib.get_close_matches(str(location[-1]), choices, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key {name!r}; {hint}known keys: {', '.join(choices)}"
    if item["type"] == "missing":
        return f"missing key {name!r}"
    message = item["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if item["type"] in ("value_error", "json_invalid"):
        return f"{name}: {message}" if name else message
    return f"{name and f'{name} = '}{item.get('input')!r}: {message}"
