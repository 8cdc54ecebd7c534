"""Columns of the annotation table by name: ``frame``, ``camera.fx``, ``joints2d_px.nose.x``."""

from __future__ import annotations

from typing import Any, Final

from data_checks.rows import Rows
from data_checks.rule import Measured, numbers, texts
from hemlets.core.skeleton import JOINTS, PARTS, SMPL_JOINTS
from hemlets.data.table import FIELDS, Field

_ENTRIES: Final[dict[str, tuple[str, ...]]] = {
    "box_xyxy": ("left", "top", "right", "bottom"),
    "camera": ("fx", "fy", "cx", "cy"),
    "betas": tuple(f"β{i}" for i in range(10)),
    "transl_mm": ("x", "y", "z"),
    "distortion": ("k1", "k2", "p1", "p2", "k3"),
    "stored_from_source": ("x", "y", "scale"),
}
_BY_LENGTH: dict[int, tuple[str, ...]] = {
    len(JOINTS): JOINTS,
    len(SMPL_JOINTS): SMPL_JOINTS,
    len(PARTS): tuple(part.name for part in PARTS),
}
_AXES = ("x", "y", "z")
_VALIDITY = {
    "joints2d_px": "valid2d", "joints3d_mm": "valid3d", "relations": "relations_valid",
    "visible": "valid2d", "truncated": "valid2d", "camera": "camera_valid", "theta": "smpl_valid",
    "betas": "smpl_valid", "transl_mm": "transl_valid",
}  # fmt: skip


def entry_names(field: Field) -> tuple[tuple[str, ...], ...]:
    """Return names of a field's entries along each of its axes."""
    if not field.shape:
        return ()
    first = _ENTRIES.get(field.name) or _BY_LENGTH[field.shape[0]]
    return (first, *(_AXES[:length] for length in field.shape[1:]))


def first_axis(name: str) -> tuple[str, ...]:
    """Return names of a field's entries along its first axis; none for a single value."""
    return next(iter(entry_names(_field(name))), ())


def is_text(column: str) -> bool:
    """Return whether a column holds text."""
    return str(_field(column).dtype) == "string"


def find_column(column: str) -> None:
    """Require that a column exists.

    Raises:
        ValueError: It does not; names the choices at the first unknown part.
    """
    field, parts = _field(column), column.split(".")[1:]
    axes = entry_names(field)
    for part, names in zip(parts, axes, strict=False):
        if part not in names:
            raise ValueError(f"{field.name} has no entry {part!r}; entries: {', '.join(names)}")
    if len(parts) < len(axes):
        choices = ", ".join(axes[len(parts)])
        raise ValueError(f"{column} holds several numbers; name one of its entries: {choices}")
    if len(parts) > len(axes):
        raise ValueError(f"{'.'.join([field.name, *parts[: len(axes)]])} has no entries")


def measure_column(rows: Rows, column: str) -> Measured:
    """Return values of a column; NaN where not annotated."""
    field, parts = _field(column), column.split(".")[1:]
    place = tuple(
        names.index(part) for part, names in zip(parts, entry_names(field), strict=True)
    )  # fmt: skip
    index: Any = (slice(None), *place)
    values_N = rows.table.column(field.name)[index]
    if is_text(column):
        return texts(values_N, lambda row: f"{column} {str(values_N[row])!r}")
    measured = numbers(values_N, lambda row: f"{column} {values_N[row]:g}")
    if field.name not in _VALIDITY:
        return measured
    valid_N = rows.table.column(_VALIDITY[field.name])
    return measured.where(valid_N[:, place[0]] if valid_N.ndim > 1 else valid_N)


def _field(column: str) -> Field:
    name = column.split(".")[0]
    for field in FIELDS:
        if field.name == name and str(field.dtype) != "binary":
            return field
    known = ", ".join(field.name for field in FIELDS if str(field.dtype) != "binary")
    raise ValueError(f"the annotation table has no field {name!r}; fields: {known}")
