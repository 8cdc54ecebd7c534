"""Match predicted samples to annotated samples by sample id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hemlets.core.arrays import Int64
from hemlets.core.errors import DataError
from hemlets.core.wording import counted, truncate_list
from hemlets.evaluation.predictions import Predictions, PredictionsInfo
from hemlets.evaluation.scoring.truth import Truth


class Matching:
    """Finds the annotated sample of each prediction, batch by batch.

    Args:
        truth: All samples of the protocol.
        where: The predictions file, for messages.
        info: Provenance of the predictions, for messages.
        among_others: Ignore predictions of samples outside the protocol, except those of a
            training subject.

    Attributes:
        matched: Number of matched predictions.
    """

    def __init__(
        self, truth: Truth, *, where: Path | str, info: PredictionsInfo, among_others: bool
    ) -> None:
        self.matched = 0
        self._truth, self._where, self._info = truth, where, info
        self._others = truth.untrained if among_others else None
        self._seen = np.zeros(len(truth), bool)

    def match(self, batch: Predictions) -> tuple[Predictions, Int64]:
        """Return the batch's predictions of the protocol's samples, and their rows of the truth.

        Raises:
            DataError: A sample is unknown or predicted twice.
        """
        predicted = batch if self._others is None else _without(batch, self._others)
        ids = pa.array(predicted.sample_id.tolist(), pa.string())
        start = self.matched
        # Both files mostly have one order: looking up every id would take longer than scoring.
        if self._truth.ids.slice(start, len(ids)).equals(ids):
            found = pa.array(np.arange(start, start + len(ids)))
        else:
            found = pc.index_in(ids, value_set=self._truth.ids)
        if found.null_count:
            unknown = ids.filter(pc.is_null(found))
            raise DataError(
                _why_unknown(unknown, self._truth),
                where=self._where,
                expected="predictions of exactly the protocol's samples, such as "
                f"{self._truth.ids[0].as_py()}",
                remedy="remove these rows, or name the annotations and the protocol that were "
                "predicted",
            )
        place = np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
        again = np.flatnonzero(self._seen[place])
        if again.size:
            raise DataError(
                counted(again.size, "sample is", "samples are") + " predicted more than once",
                where=f"{self._where}: {truncate_list(predicted.sample_id[again])}",
                expected="one row a sample",
                remedy="remove the repeated rows",
            )
        self._seen[place] = True
        self.matched += len(place)
        return predicted, place

    def require_all(self) -> None:
        """Require a prediction for every sample.

        Raises:
            DataError: Names the missing samples, and subjects or actions that are missing entirely.
        """
        missing = np.flatnonzero(~self._seen)
        if not missing.size:
            return
        groups = []
        for field in ("subject", "action"):
            facet = self._truth.facets[field]
            whole = [
                facet.words[code]
                for code in np.unique(facet.codes[missing])
                if facet.words[code] and not self._seen[facet.codes == code].any()
            ]
            groups += [f"no sample of {field} {truncate_list(whole)} is predicted"] if whole else []
        names = self._truth.ids.take(missing[:10]).to_pylist()
        more = f" and {missing.size - 10} more" if missing.size > 10 else ""
        raise DataError(
            f"{counted(missing.size, 'sample has', 'samples have')} no prediction "
            f"({', '.join(names)}{more})" + "".join(f"; {group}" for group in groups),
            where=f"{self._where}: predictions of {self._info.model_version}",
            expected="exactly one prediction for each annotated sample",
            remedy="predict the whole split of this data version",
        )


def _without(predicted: Predictions, others: pa.Array) -> Predictions:
    out = pc.is_in(pa.array(predicted.sample_id.tolist(), pa.string()), value_set=others)
    rows = np.flatnonzero(~np.asarray(out.to_numpy(zero_copy_only=False), bool))
    return predicted if len(rows) == len(predicted) else predicted.take(rows)


def _why_unknown(unknown: pa.Array, truth: Truth) -> str:
    parts, left = [], unknown
    for reason, ids in truth.other.items():
        inside = pc.is_in(left, value_set=ids)
        named = left.filter(inside)
        if len(named):
            parts.append(
                f"{counted(len(named), 'prediction')} can't count "
                f"({truncate_list(named.to_pylist())}): {reason}"
            )
            left = left.filter(pc.invert(inside))
    if len(left):
        parts.append(
            f"{counted(len(left), 'prediction is', 'predictions are')} of no annotated sample "
            f"({truncate_list(left.to_pylist())})"
        )
    return "; ".join(parts)
