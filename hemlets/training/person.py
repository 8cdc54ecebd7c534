"""From which confidence on there is a person: set on validation images with and without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hemlets.annotations import Annotations, ShardReader, decode_image
from hemlets.codecs import PERSON_STATISTIC, decode_heatmaps, person_confidence
from hemlets.models import PoseNetwork
from hemlets.models.crops import network_input
from hemlets.models.model_folder import PersonThreshold
from hemlets.transforms import square_crop

__all__ = ["best_threshold", "person_threshold"]

Array = npt.NDArray[np.floating]


def person_threshold(
    network: PoseNetwork,
    people: Annotations,
    backgrounds: Annotations,
    shards: Path,
    *,
    device: torch.device,
    batch_size: int = 64,
) -> PersonThreshold | None:
    """Measure the threshold on images as they are predicted later: whole crops in float32.

    Args:
        network: The pose network.
        people: Validation rows of people.
        backgrounds: Validation rows without a person.
        shards: Folder of their images.
        device: Where the network is.
        batch_size: Crops that go through the network together.

    Returns:
        None where one of the two has no row, or the network no heatmaps.
    """
    if not len(people) or not len(backgrounds):
        return None
    was_training = network.training
    network.eval()
    found = [_confidences(network, rows, shards, device, batch_size)
             for rows in (people, backgrounds)]  # fmt: skip
    network.train(was_training)
    if any(values is None for values in found):
        return None
    of_people_N, of_backgrounds_M = (np.asarray(values) for values in found)
    return PersonThreshold.measured(
        best_threshold(of_people_N, of_backgrounds_M),
        of_people_N,
        of_backgrounds_M,
        statistic=PERSON_STATISTIC,
    )


def best_threshold(of_people_N: Array, of_backgrounds_M: Array) -> float:
    """The confidence at which the mean of both error rates is least.

    Half way between two measured confidences, or 0 or 1, where nobody or everybody is refused;
    of several that are as good, the one in the widest gap.
    """
    people, backgrounds = np.sort(of_people_N), np.sort(of_backgrounds_M)
    values = np.concatenate([[0.0], np.unique(np.concatenate([people, backgrounds])), [1.0]])
    candidates = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    missed = np.searchsorted(people, candidates) / len(people)
    false_alarms = 1 - np.searchsorted(backgrounds, candidates) / len(backgrounds)
    errors = missed + false_alarms
    # Rates are ratios of whole numbers, which are equal up to rounding only.
    best = np.flatnonzero(errors <= errors.min() + 1e-9)
    return float(candidates[best[np.argmax(gaps[best])]])


def _confidences(
    network: PoseNetwork, rows: Annotations, shards: Path, device: torch.device, batch_size: int
) -> Array | None:
    reader = ShardReader(shards)
    crops = [square_crop(box, network.config.crop_px) for box in rows.box_xyxy]
    found: list[Array] = []
    for start in range(0, len(rows), batch_size):
        part = range(start, min(start + batch_size, len(rows)))
        images = (
            decode_image(reader.jpeg(rows.shard[i], int(rows.shard_row[i]), rows.sample_id[i]))
            for i in part
        )
        with torch.inference_mode():
            output = network(network_input(images, crops[part.start : part.stop], device))
        if output.heatmap_BJHW is None:
            return None
        peak_BJ = decode_heatmaps(output.heatmap_BJHW)[1].clamp(0, 1)
        found.append(person_confidence(peak_BJ.cpu().numpy()))
    return np.concatenate(found)
