"""Refuse test data that overlap with training data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hemlets.core.errors import DataError
from hemlets.data.table import Annotations


def _parts(names: Iterable[str]) -> set[str]:
    """Split mixtures of clips or families ("walk+kick") into their parts."""
    return {part for name in set(names) for part in name.split("+") if part}


def check_no_leak(
    train: Annotations, test: Annotations, kinds: Sequence[str] = ("clip", "family")
) -> None:
    """Refuse two sets that share a clip, a motion family or an image.

    A mixture of clips counts as each of its clips.

    Raises:
        DataError: They share values; the message names all fields, the values and the first
            samples.
    """
    shared: list[str] = []
    for kind in kinds:
        both = sorted(_parts(train.column(kind)) & _parts(test.column(kind)))
        if both:
            shared.append(f"{kind} {', '.join(both[:10])}{' …' if len(both) > 10 else ''}")
    seen = set(train.image_hash)
    images = [
        str(name)
        for name, digest in zip(test.sample_id, test.image_hash, strict=True)
        if digest in seen
    ]
    if images:
        more = f" and {len(images) - 5} more" if len(images) > 5 else ""
        shared.append(f"the images of test samples {', '.join(images[:5])}{more}")
    if shared:
        raise DataError(
            "the training and the test samples share " + "; ".join(shared),
            expected=f"no {', '.join(kinds)} or image in both",
            remedy="make the splits again; a score on these samples would lie",
        )
