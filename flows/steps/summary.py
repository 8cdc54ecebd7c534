"""The summary of a retraining on its page in Prefect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.registry.rules import PromotionRules
from flows.tracking.figures import Figures
from hemlets.core.wording import code_block
from hemlets.evaluation.metrics.definitions import format_value, metric_label


def summary_markdown(
    end: str,
    rules: PromotionRules,
    facts: Mapping[str, Any],
    links: Mapping[str, str],
    notes: Sequence[str] = (),
) -> str:
    """Render the end, its reasons, the gate's figures next to the champion's, and links.

    Args:
        end: The final state in words.
        rules: The profile's promotion rules.
        facts: Facts of the verdict.
        links: Addresses or paths by title.
        notes: Further lines before the reasons.
    """
    lines = [f"# {end.capitalize()}: version {facts['version']}", ""]
    lines += [f"- {reason}" for reason in (*notes, *facts["reasons"])]
    lines += ["", "## Gate", "", *_table(rules, facts), ""]
    return "\n".join([*lines, *_links(links)])


def failure_markdown(reason: str, known: Mapping[str, Any]) -> str:
    """Render a failed retraining's page: the reason with its lines as they are.

    Args:
        reason: The error.
        known: Facts from before the error, of `sources`, `mlflow`, `decision` and `version`.
    """
    end = "Nothing was promoted."
    if known.get("decision") == "promoted":
        end = f"Version {known['version']} was promoted before."
    links = {"MLflow": known["mlflow"]} if "mlflow" in known else {}
    lines = ["# Failed", "", end, "", *(f"- {source}" for source in known.get("sources", ()))]
    return "\n".join([*lines, *_links(links), "", code_block(reason)])


def _links(places: Mapping[str, str]) -> list[str]:
    return [
        f"- {title}: {f'[{place}]({place})' if place.startswith('http') else f'`{place}`'}"
        for title, place in places.items()
    ]


def _table(rules: PromotionRules, facts: Mapping[str, Any]) -> list[str]:
    folder = facts["champion_benchmark"]
    champion = {} if folder is None else Figures.read(Path(folder)).for_floors()
    before = facts["champion_before"]
    title = "champion" if before is None else f"champion (version {before})"
    rows = [f"| metric | this model | {title} | limit |", "|---|---|---|---|"]
    for key, value in sorted(facts["figures"].items()):
        bound = rules.floors.get(key)
        limits = [] if bound is None else [("≥", bound.min), ("≤", bound.max)]
        limit = " ".join(f"{sign} {_value(key, edge)}" for sign, edge in limits if edge is not None)
        other = _value(key, champion.get(key))
        rows.append(f"| {metric_label(key)} | {_value(key, value)} | {other} | {limit} |")
    for own in facts.get("own", ()):
        for key, value in sorted(own["figures"].items()):
            title = f"{metric_label(key)} on {own['held_out']}"
            rows.append(f"| {title} | {_value(key, value)} | | |")
    return rows


def _value(key: str, value: float | None) -> str:
    return "–" if value is None else format_value(key, value)
