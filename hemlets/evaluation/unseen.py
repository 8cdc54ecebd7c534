"""Refuse a benchmark that shares people or images with training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemlets.core.errors import DataError
from hemlets.core.wording import counted, truncate_list
from hemlets.data.table import Annotations, ShardReader, decode_image
from hemlets.evaluation.near_duplicates import hashes_of, near_pairs
from hemlets.evaluation.protocols.protocol import Protocol, plain_word

_REMEDY = "train without them, or score on other samples: these figures would lie"


def check_unseen(
    training: Annotations,
    test: Annotations,
    protocol: Protocol,
    *,
    training_shards: Path | None = None,
    test_shards: Path | None = None,
) -> None:
    """Refuse a test set that shares a subject, an image or nearly an image with training.

    Args:
        training: The model's training rows; the ``train`` split counts.
        test: Rows of the protocol.
        protocol: States whether training and test share subjects by the dataset's own rule.
        training_shards: Training images; near-duplicates are searched if both folders are given.
        test_shards: Test images.

    Raises:
        DataError: They share something; the message names all of it.
    """
    trained = training.split("train")
    trained = trained if len(trained) else training
    shared: list[str] = []
    if not protocol.shared_subjects:
        known = {
            (source, plain_word(subject))
            for source, subject in zip(trained.source, trained.subject, strict=True)
        }
        both = sorted(
            {
                str(subject)
                for source, subject in zip(test.source, test.subject, strict=True)
                if (source, plain_word(subject)) in known
            }
        )
        shared += [f"the subjects {truncate_list(both)}"] if both else []
    digests = set(trained.image_hash)
    images = [
        name
        for name, digest in zip(test.sample_id, test.image_hash, strict=True)
        if digest in digests
    ]
    shared += (
        [f"the images of {counted(len(images), 'sample')} ({truncate_list(images, 5)})"]
        if images
        else []
    )
    if training_shards is not None and test_shards is not None:
        pairs = near_duplicates(trained, test, training_shards, test_shards)
        if pairs:
            names = truncate_list((f"{ours} and {theirs}" for ours, theirs in pairs), 5)
            shared.append(f"{counted(len(pairs), 'pair')} of nearly the same image ({names})")
    if shared:
        raise DataError(
            "the test samples share " + "; ".join(shared) + " with the training",
            where=f"protocol {protocol.name}",
            expected="people and images that the model has never seen",
            remedy=_REMEDY,
        )


def near_duplicates(
    training: Annotations, test: Annotations, training_shards: Path, test_shards: Path
) -> list[tuple[str, str]]:
    """Find pairs (test sample, training sample) with nearly the same image.

    Raises:
        DataError: An image can't be read.
    """
    ours, theirs = (
        _hashes(rows, shards) for rows, shards in ((test, test_shards), (training, training_shards))
    )
    return [
        (str(test.sample_id[row]), str(training.sample_id[column]))
        for row, column in near_pairs(ours, theirs)
    ]


def _hashes(rows: Annotations, shards: Path) -> npt.NDArray[np.uint64]:
    reader = ShardReader(shards)
    return hashes_of(
        decode_image(
            reader.jpeg(str(rows.shard[i]), int(rows.shard_row[i]), str(rows.sample_id[i])),
            where=str(rows.sample_id[i]),
        )
        for i in range(len(rows))
    )
