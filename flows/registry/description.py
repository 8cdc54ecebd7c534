"""Description of a model version: data, scores, and reasons of the promotion decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.registry import versions as registry
from flows.tracking.figures import Figures
from hemlets.core.wording import counted
from hemlets.core.workspace import Workspace
from hemlets.evaluation.metrics.definitions import format_value, metric_label

_SHOWN = ("mpjpe_mm", "pa_mpjpe_mm", "per_vertex_mm", "joints2d_px")


def describe_version(
    workspace: Workspace, facts: Mapping[str, Any], figures: Figures, run: str
) -> None:
    """Write the description of the judged version, as Markdown.

    A model that is the champion already keeps the description of its promotion.

    Args:
        workspace: Whose registry.
        facts: Of the verdict.
        figures: Of its benchmark.
        run: Address of the retraining's run on the same server.
    """
    version = registry.version_by_number(workspace, facts["version"])
    if facts["decision"] == "already champion":
        return
    text = description(version.tags, facts, figures, run)
    registry.set_description(workspace, version, text)
    if facts["decision"] == "promoted":
        registry.describe_model(workspace, f"champion: version {version.version}. {text}")


def description(
    tags: Mapping[str, str], facts: Mapping[str, Any], figures: Figures, run: str
) -> str:
    """The text of a description; see `describe_version`."""
    # The list of versions shows the beginning of the first line, as plain text.
    score = facts["figures"].get("mpjpe_mm")
    words = "" if score is None else f", gate MPJPE {format_value('mpjpe_mm', score)}"
    lines = [f"{str(facts['decision']).capitalize()}{words}: 3D human pose and shape."]
    lines += ["", f"How good ({figures.protocol}):"]
    for name, predictors in figures.by_split.items():
        shown = [
            f"{metric_label(key)} {format_value(key, predictors['model'][key]['mean'])}"
            for key in _SHOWN
            if predictors["model"].get(key, {}).get("mean") is not None
        ]
        # Photographs may have 2D joints only.
        count = max(entry["samples"] for entry in predictors["model"].values())
        lines.append(f"- {name}: {', '.join(shown)} ({counted(count, 'sample')})")
    sources = [f"{name.partition('.')[2]}: {text}" for name, text in sorted(tags.items())
               if name.startswith("source.")]  # fmt: skip
    lines += ["", "From what:"]
    lines += [f"- data version {tags['data_version']}", *(f"- source {text}" for text in sources)]
    lines += [f"- code {tags['code_version']}, profile {tags.get('profile', '')}"]
    lines += [f"- validation {tags['validation']}", "", "Why:"]
    lines += [f"- {reason}" for reason in facts["reasons"]]
    lines += ["", f"Run: [{run.rpartition('/')[2]}]({run})"]
    return "\n".join(lines)
