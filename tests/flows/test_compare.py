from __future__ import annotations

import pytest

from flows.tracking.compare import fetch_run, log_benchmark
from hemlets.cli import main
from hemlets.core.errors import DataError
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.scoring.results import read_summary

from ..evaluation.layouts import human36m, predictions_of, written


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "files").as_uri())
    return client, experiment, uri


def test_a_tracked_benchmark_is_compared_by_its_run_id_under_its_full_names(
    tracker, tmp_path, capsys
):
    client, experiment, uri = tracker
    rows, ids = human36m("S9", "S11"), []
    for name, noise in (("one", 20), ("two", 30)):
        folder = tmp_path / name
        folder.mkdir()
        files = written(folder, rows, predictions_of(rows, noise_mm=noise))
        given = [str(files[0]), "--annotations", str(files[1]), "--out", str(folder / "b"), "-q"]
        assert main(["benchmark", "score", *given, "--protocol", "human36m-p1"]) == 0
        run = client.create_run(experiment, run_name=name)
        log_benchmark(run.info.run_id, folder / "b", uri=uri)
        ids.append(run.info.run_id)
    full = read_summary(tmp_path / "one" / "b").logged
    logged = {MetricName.parse(name).short: value for name, value in full.items()}
    name = next(name for name in logged if "mean-of" not in name).partition("/")[2]
    found = dict(client.get_run(ids[0]).data.metrics)
    # Table 1's 15 actions and their mean, and the same mean in Table 6 ("Pro.#1").
    paper = {key: value for key, value in found.items() if key.startswith("paper-table-")}
    assert len(paper) == 17
    assert paper[f"paper-table-1/Direct.{name}"] == 34.4
    assert paper[f"paper-table-1/Avg.{name}"] == paper[f"paper-table-6/Pro.1.{name}"] == 39.9
    assert {key: found[key] for key in found.keys() - paper.keys()} == pytest.approx(logged)
    assert main(["compare", *ids, "--out", str(tmp_path / "c.html")]) == 0
    said = capsys.readouterr().out
    assert "(+50.0 %)" in said
    assert "two" in said


def test_a_run_without_a_benchmark_is_refused(tracker):
    client, experiment, _ = tracker
    run = client.create_run(experiment)
    with pytest.raises(DataError, match="holds no benchmark"):
        fetch_run(run.info.run_id)


def test_something_that_is_no_run_is_not_fetched(tracker):
    assert fetch_run("nothing") is None


def test_asking_for_a_run_makes_no_database_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HEMLETS_HOME", str(tmp_path / "home"))
    assert fetch_run("nothing") is None
    assert not (tmp_path / "home").exists()
