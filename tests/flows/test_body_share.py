"""A PoSh stage that would hardly see a body is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.profile import Profile, load_profile
from flows.steps.label_coverage import require_bodies
from hemlets.core.errors import DataError

TINY = Path(__file__).with_name("tiny.toml")


def profile(*overrides: str) -> Profile:
    return load_profile(str(TINY), overrides)


def data_of(folder: Path, *groups: tuple[str, str, bool, int]) -> Path:
    """A table of (split, source, whether the body is known, rows)."""
    rows = [(split, source, known) for split, source, known, count in groups for _ in range(count)]
    columns = zip(*rows, strict=True)
    names = ("split", "source", "smpl_valid")
    pq.write_table(
        pa.table(dict(zip(names, map(list, columns), strict=True))), folder / "annotations.parquet"
    )
    return folder


def test_a_few_rendered_bodies_among_a_datasets_joints_are_too_few(tmp_path: Path) -> None:
    data = data_of(
        tmp_path,
        ("train", "open-rendered", True, 64),
        ("train", "human36m", False, 2000),
        ("train", "mpii", False, 300),
        # Held-out bodies teach nothing, and scenes without people ask for none.
        ("validation", "open-rendered", True, 500),
        ("train-background", "open-rendered", False, 9),
    )
    with pytest.raises(DataError) as raised:
        require_bodies(profile(), data)
    error = raised.value
    assert "64 of 2,364" in error.what
    assert "human36m 0 of 2,000, mpii 0 of 300, open-rendered 64 of 64" in error.what
    assert error.where == f"{tmp_path / 'annotations.parquet'}: smpl_valid"
    assert error.expected is not None
    assert "5 %" in error.expected
    assert error.remedy is not None
    assert "spin_npz" in error.remedy


@pytest.mark.parametrize(
    ("bodies", "share", "refused"),
    [(5, 0.05, False), (4, 0.05, True), (4, 0.04, False), (0, 0.0, False)],
)
def test_the_profile_says_how_many_are_enough(
    tmp_path: Path, bodies: int, share: float, refused: bool
) -> None:
    data = data_of(
        tmp_path, ("train", "spin_npz", True, bodies), ("train", "mpii", False, 100 - bodies)
    )
    chosen = profile(f"min_body_share={share}")
    if refused:
        with pytest.raises(DataError, match="of 100"):
            require_bodies(chosen, data)
    else:
        require_bodies(chosen, data)


def test_a_table_without_training_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no people"):
        require_bodies(profile(), data_of(tmp_path, ("test", "open-rendered", True, 3)))


def test_the_papers_profiles_ask_for_bodies_and_humaneva_s_renders_them() -> None:
    for name in ("paper-h36m", "paper-h36m-mpii", "paper-humaneva"):
        assert load_profile(name).min_body_share >= 0.05
    assert load_profile("paper-humaneva").data.samples.train >= 4000
