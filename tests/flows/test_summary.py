"""The summary on Prefect's page says what was decided, why, and by which figures."""

from __future__ import annotations

from flows.registry.rules import Bound, PromotionRules
from flows.steps.summary import failure_markdown, summary_markdown
from hemlets.core.files import write_json
from hemlets.evaluation.metrics.definitions import format_value

FACTS = {
    "decision": "rejected",
    "reasons": ["the mean joint error (MPJPE) is 90.0 mm, but must be at most 80.0 mm"],
    "version": 3,
    "champion_before": 2,
    "champion_benchmark": None,
    "figures": {"mpjpe_mm": 90.0, "theta_deg": None},
}
RULES = PromotionRules(floors={"mpjpe_mm": Bound(max=80.0)})


def test_it_holds_the_decision_its_reasons_and_where_to_read_on() -> None:
    text = summary_markdown("rejected", RULES, FACTS, {"report": "/reports/1.html"}, ["it resumes"])
    assert text.startswith("# Rejected: version 3\n")
    assert f"- it resumes\n- {FACTS['reasons'][0]}" in text
    assert "- report: `/reports/1.html`" in text


def test_a_failure_says_what_had_arrived_and_whether_a_model_was_promoted_before_it() -> None:
    known = {"mlflow": "http://mlflow/#/run/1", "sources": ["street: 4 new rows"]}
    text = failure_markdown("row 3 is wrong\n  seen: 1", known)
    assert "Nothing was promoted." in text
    assert "- street: 4 new rows\n- MLflow: [http://mlflow/#/run/1](http://mlflow/#/run/1)" in text
    assert "row 3 is wrong\n  seen: 1" in text
    late = failure_markdown("the disk is full", known | {"decision": "promoted", "version": 4})
    assert "Version 4 was promoted before." in late
    assert "Nothing was promoted" not in late


def test_each_figure_stands_beside_its_limit_and_the_champions(tmp_path) -> None:
    predictors = dict.fromkeys(("model", "mean-pose", "linear-lifter"))
    for name in predictors:
        predictors[name] = {"mpjpe_mm": {"name": "mpjpe_mm/gate", "mean": 70.0, "samples": 4}}
    write_json(tmp_path / "figures.json", {"gate": predictors})
    text = summary_markdown("rejected", RULES, FACTS | {"champion_benchmark": str(tmp_path)}, {})
    (row,) = [line for line in text.splitlines() if line.startswith("| the mean joint")]
    _, _, own, champion, limit, _ = (cell.strip() for cell in row.split("|"))
    assert (own, champion, limit) == (
        format_value("mpjpe_mm", 90.0),
        format_value("mpjpe_mm", 70.0),
        f"≤ {format_value('mpjpe_mm', 80.0)}",
    )
    assert "| champion (version 2) |" in text
    assert any(line.count("–") == 2 for line in text.splitlines()), "a missing figure is a dash"
