"""Save, load and resume the state of a training run."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hemlets.core.errors import CheckpointError, TrainingError
from hemlets.core.files import atomic_path, write_text
from hemlets.training.identity import Identity


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically; the previous one survives any error.

    Raises:
        TrainingError: A number in it is not finite.
        WorkspaceError: It could not be written.
    """
    for name, tensor in _tensors(state):
        if not tensor.isfinite().all():
            raise TrainingError(
                "a number of the training's state is not finite, so that it is not saved",
                where=f"{path}: {name}",
                remedy="lower training.learning_rate or set training.gradient_clip; the same "
                "command goes on from the checkpoint before",
            )
    with atomic_path(path) as scratch:
        try:
            torch.save(state, scratch)
        except RuntimeError as error:
            # torch hides the system's error: a full disk reads "unexpected pos".
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise OSError(errno.EIO, f"torch.save failed: {error}") from error


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors in nested mappings and lists with their paths."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _tensors(inner, f"{name}[{index}]")


def load_checkpoint(
    path: Path, identity: Identity, *, drop_others: bool = False
) -> dict[str, Any] | None:
    """Read the checkpoint of this run; None if there is none.

    Args:
        path: The file.
        identity: Identity of the run, compared with the record stored under ``identity``.
        drop_others: Treat the checkpoint of another run as absent.

    Raises:
        CheckpointError: The file is damaged, or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint can't be read: {error}", where=path, remedy="delete it to start anew"
        ) from error
    changed = identity.changed(state.get("identity", {}))
    if changed and drop_others:
        return None
    if "identity" not in state:
        raise CheckpointError(
            "the checkpoint is of another version of hemlets",
            where=path,
            remedy="delete it to start anew, or go on with the version that wrote it",
        )
    if changed:
        what = " and ".join([", ".join(changed[:-1]), changed[-1]] if changed[1:] else changed)
        raise CheckpointError(
            f"the checkpoint belongs to a run with other {what}",
            where=path,
            expected="what the run was started with",
            remedy=f"restore the {what} to go on, or delete the checkpoint to start anew",
        )
    return state


class History:
    """Metrics by step as JSON lines; on resume, rows after the checkpoint are dropped."""

    def __init__(self, path: Path, *, resume_step: int) -> None:
        self.path = path
        complete_lines = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= resume_step:
                        complete_lines.append(line)
                except (json.JSONDecodeError, KeyError):
                    break
        write_text(path, "".join(f"{line}\n" for line in complete_lines))

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Append one row with the time, in seconds since 1970."""
        row = {"step": step, "time_s": round(time.time(), 3), **metrics}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
