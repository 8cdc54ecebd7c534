"""What models of the mixed-training study are worth: on photographs, and on rendered people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from mixed_arms import HELD_OUT_FROM, PHOTOGRAPHS

from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.evaluation import MetricName, Predictions, PredictionsInfo
from hemlets.evaluation.predicting import predict_rows
from hemlets.evaluation.protocols import load_protocol, split_protocol
from hemlets.evaluation.scoring.sample_scores import score
from hemlets.evaluation.scoring.truth import Truth
from hemlets.inference.predictor import Predictor
from hemlets.inference.types import PredictionRequest

__all__ = ["PCK", "Figures", "Float", "of", "score_photographs", "score_rendered", "spread"]

PCK: Final = "pck20_torso_pct"

Float = npt.NDArray[np.float64]
Figures = dict[MetricName, Float]
"""By metric: a figure of each sample."""


def score_photographs(
    model: Predictor, rows: Annotations, shards: Path, path: Path
) -> tuple[Figures, Predictions]:
    """LSP's PCK of each photograph, from a file of predictions as anyone would score them."""
    reader = ShardReader(shards)
    requests = []
    for row, box in enumerate(rows.box_xyxy.tolist()):
        name = str(rows.sample_id[row])
        image = decode_image(reader.jpeg(rows.shard[row], int(rows.shard_row[row]), name))
        requests.append(PredictionRequest(image_HW3=image, box_xyxy=tuple(box)))
    found = Predictions.from_estimates(
        list(rows.sample_id), model.predict(requests), _info_of(model, "validation")
    )
    found.write(path)
    name = f"lsp-pck.{PHOTOGRAPHS}-from-{HELD_OUT_FROM}"
    protocol = load_protocol("lsp-pck").model_copy(
        update={"name": name, "datasets": (PHOTOGRAPHS,), "split": "validation"}
    )
    scores = score(path, Truth.of(rows, protocol), protocol)
    return {name: scores.of(name.key) for name in scores.names}, found


def score_rendered(model: Predictor, rows: Annotations, shards: Path) -> Figures:
    """Errors on rendered people: what the photographs cost."""
    info = _info_of(model, str(rows.column("split")[0]))
    found = Predictions.from_estimates(
        list(rows.sample_id), predict_rows(model, rows, shards), info
    )
    protocol = split_protocol(info.split)
    scores = score(found, Truth.of(rows, protocol), protocol)
    return {n: scores.of(n.key) for n in scores.names if n.key in ("mpjpe_mm", "pa_mpjpe_mm")}


def _info_of(model: Predictor, split: str) -> PredictionsInfo:
    """Where predictions come from."""
    return PredictionsInfo(
        model_version=model.version, data_version="", split=split,
        precision=model.precision, depth_source="bone-length-prior",
        box_source="ground-truth", flip_test=model.card.flip_test, code_version="",
    )  # fmt: skip


def spread(rows: Annotations, count: int) -> Annotations:
    """At most so many rows, evenly over the table."""
    return rows.take(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))


def of(figures: Figures, key: str) -> Float:
    """A metric's figures by its key."""
    return next(values for name, values in figures.items() if name.key == key)
