"""The endpoint's log is sampled, written whole, bounded, and never fails a request."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hemlets.core.errors import ConfigError, DataError
from hemlets.inference.observed import FEATURES, observe_image
from hemlets.inference.prediction_log import PredictionLog, read_log
from hemlets.inference.types import BodyEstimate, Camera

IMAGE = np.full((80, 60, 3), 100, np.uint8)


def estimate(box=(10.0, 20.0, 40.0, 70.0)) -> BodyEstimate:
    theta = np.zeros((24, 3))
    theta[1:, 0] = np.pi / 6
    return BodyEstimate(
        joints3d_mm=np.zeros((18, 3)), root_mm=np.array([0.0, 0.0, 4000.0]),
        joints2d_px=np.zeros((18, 2)), confidence=np.full(18, 0.5), theta=theta,
        betas=np.zeros(10), box_xyxy=box, camera=Camera(fx=1.0, fy=1.0, cx=0.0, cy=0.0),
    )  # fmt: skip


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_nothing_is_logged_unless_it_is_switched_on(monkeypatch) -> None:
    monkeypatch.delenv("HEMLETS_PREDICTION_LOG", raising=False)
    assert PredictionLog.from_env() is None


@pytest.mark.parametrize("share", ["2", "-1", "many"])
def test_a_wrong_share_is_refused(monkeypatch, tmp_path, share) -> None:
    monkeypatch.setenv("HEMLETS_PREDICTION_LOG", str(tmp_path))
    monkeypatch.setenv("HEMLETS_PREDICTION_LOG_SHARE", share)
    with pytest.raises(ConfigError, match="HEMLETS_PREDICTION_LOG_SHARE"):
        PredictionLog.from_env()


def test_rows_are_written_by_hour_without_images(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=1.0)
    log.add(IMAGE, [estimate(), estimate()], version="7")
    assert files(tmp_path) == []
    log.flush()
    (path,) = files(tmp_path)
    assert path.parent.relative_to(tmp_path).as_posix() == time.strftime("%Y-%m-%d/%H", time.gmtime(
        pq.read_table(path).column("time")[0].as_py()))  # fmt: skip
    (first, second) = pq.read_table(path).to_pylist()
    assert first["people"] == 2
    assert first["version"] == "7"
    assert first["bend_deg"] == pytest.approx(30.0)
    assert first["depth_m"] == pytest.approx(4.0)
    assert first["box_px"] == pytest.approx(50.0)
    assert first["image"] is None
    assert second["brightness"] == pytest.approx(100.0)


def test_pictures_are_kept_where_they_are_switched_on(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=1.0, images=True)
    log.add(IMAGE, [estimate()], version="7")
    log.flush()
    (row,) = pq.read_table(files(tmp_path)[0]).to_pylist()
    assert row["image"].startswith(b"\xff\xd8")


def test_rows_are_written_after_a_while_without_a_further_request(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=1.0, seconds=0.05)
    log.add(IMAGE, [estimate()], version="7")
    until = time.monotonic() + 60
    while not files(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_share_of_the_requests_is_drawn(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=0.0)
    for _ in range(20):
        log.add(IMAGE, [estimate()], version="7")
    log.flush()
    assert files(tmp_path) == []


def test_a_full_file_is_written_at_once_and_the_oldest_are_removed(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=1.0, rows=2, most_bytes=1)
    for _ in range(6):
        log.add(IMAGE, [estimate()], version="7")
    (path,) = files(tmp_path)
    assert path.name.endswith("-2.parquet")


def test_a_folder_that_cant_be_written_fails_no_request(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    log = PredictionLog(tmp_path / "file", share=1.0, rows=1)
    log.add(IMAGE, [estimate()], version="7")
    log.add(np.zeros((4, 4, 3), np.uint8), [estimate(box=(np.nan,) * 4)], version="7")


def test_a_window_of_the_log_is_read(tmp_path) -> None:
    log = PredictionLog(tmp_path, share=1.0)
    log.add(IMAGE, [estimate()], version="7")
    log.flush()
    assert len(read_log(tmp_path, since=time.time() - 60)["time"]) == 1
    assert len(read_log(tmp_path, since=time.time() + 7200)["time"]) == 0
    assert len(read_log(tmp_path, since=-4e10)["time"]) == 1, "1,300 years"
    assert set(FEATURES) <= read_log(tmp_path).keys()
    with pytest.raises(DataError, match="does not exist"):
        read_log(tmp_path / "other")


def test_a_file_that_was_cut_is_named(tmp_path) -> None:
    (tmp_path / "2026-01-01" / "00").mkdir(parents=True)
    (tmp_path / "2026-01-01" / "00" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"can.t be read"):
        read_log(tmp_path)


def test_blur_lowers_the_sharpness_of_the_person_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    flat = noise.copy()
    flat[:50] = 127
    sharp, blurred = (observe_image(noise, (0, y, 100, y + 50)) for y in (0, 50))
    assert observe_image(flat, (0, 0, 100, 50))["sharpness"] < sharp["sharpness"] - 1
    assert observe_image(flat, (0, 50, 100, 100))["sharpness"] == blurred["sharpness"]
