"""Scores by sample, as a table and as a file: everything that a summary is made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hemlets.core.errors import ConfigError, DataError
from hemlets.core.files import atomic_path
from hemlets.core.skeleton import N_JOINTS
from hemlets.evaluation.metrics.names import MetricName
from hemlets.evaluation.predictions import PredictionsInfo

__all__ = ["SampleScores"]

Float = npt.NDArray[np.float64]
Text = npt.NDArray[np.object_]

_METADATA: Final = b"hemlets.scores"
_PER_JOINT: Final = {"joint_errors_mm": N_JOINTS, "rotation_errors_deg": 24}


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleScores:
    """Every metric of every sample; NaN where a sample does not have it.

    Attributes:
        info: where the predictions come from.
        names: of the metrics, with their protocol.
        sample_id: (N,) in the annotations' order.
        sequence: (N,) the unit that is resampled.
        family: (N,) of motions.
        truncated_joints: (N,) number of joints outside the image.
        visible_joints: (N,) number of joints that are seen.
        values: (N, M) one column a name.
        joint_errors_mm: (N, 18) root at the pelvis, not aligned.
        rotation_errors_deg: (N, 24) geodesic; all 24, also those that never move.
    """

    info: PredictionsInfo
    names: tuple[MetricName, ...]
    sample_id: Text
    sequence: Text
    family: Text
    truncated_joints: npt.NDArray[np.int64]
    visible_joints: npt.NDArray[np.int64]
    values: Float
    joint_errors_mm: Float
    rotation_errors_deg: Float

    def __len__(self) -> int:
        return len(self.sample_id)

    def name(self, key: str) -> MetricName:
        """The full name of a metric.

        Raises:
            DataError: This predictor was not scored by it.
        """
        for name in self.names:
            if name.key == key:
                return name
        raise DataError(
            f"there is no metric {key!r} for {self.info.model_version}",
            expected="one of " + ", ".join(name.key for name in self.names),
        )

    def of(self, key: str) -> Float:
        """One metric by sample, (N,)."""
        return np.asarray(self.values[:, self.names.index(self.name(key))])

    def write(self, path: Path) -> None:
        """Write as Parquet, atomically; NaN is stored as NaN."""
        columns: dict[str, Any] = {
            "sample_id": pa.array(self.sample_id.tolist(), pa.string()),
            "sequence": pa.array(self.sequence.tolist(), pa.string()),
            "family": pa.array(self.family.tolist(), pa.string()),
            "truncated_joints": pa.array(self.truncated_joints, pa.int64()),
            "visible_joints": pa.array(self.visible_joints, pa.int64()),
        }
        for column, name in enumerate(self.names):
            columns[name.key] = pa.array(np.ascontiguousarray(self.values[:, column]))
        for key, width in _PER_JOINT.items():
            flat = pa.array(np.asarray(getattr(self, key), np.float64).reshape(-1))
            columns[key] = pa.FixedSizeListArray.from_arrays(flat, width)
        about = {
            "info": self.info.model_dump(mode="json"),
            "names": [name.full for name in self.names],
        }
        table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(about).encode()})
        with atomic_path(path) as scratch:
            pq.write_table(table, scratch, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> SampleScores:
        """Inverse of :meth:`write`.

        Raises:
            DataError: The file is absent, damaged or something else.
        """
        remedy = "run the benchmark again: it writes this file"
        try:
            table = pq.read_table(path, page_checksum_verification=True).combine_chunks()
            about = json.loads(table.schema.metadata[_METADATA])
            names = tuple(MetricName.parse(full) for full in about["names"])
            info = PredictionsInfo.from_mapping(about["info"], where=str(path))

            def text(key: str) -> Text:
                return np.array(table.column(key).to_pylist(), object)

            def numbers(key: str) -> npt.NDArray[Any]:
                return np.asarray(table.column(key).to_numpy())

            wide = {
                key: table.column(key).combine_chunks().flatten().to_numpy().reshape(-1, width)
                for key, width in _PER_JOINT.items()
            }
            values = [numbers(name.key) for name in names]
            return cls(
                info=info,
                names=names,
                sample_id=text("sample_id"),
                sequence=text("sequence"),
                family=text("family"),
                truncated_joints=numbers("truncated_joints"),
                visible_joints=numbers("visible_joints"),
                values=np.stack(values, 1) if values else np.zeros((table.num_rows, 0)),
                joint_errors_mm=wide["joint_errors_mm"],
                rotation_errors_deg=wide["rotation_errors_deg"],
            )
        except FileNotFoundError as error:
            raise DataError("the scores file does not exist", where=path, remedy=remedy) from error
        except (
            pa.ArrowException, OSError, ValueError, KeyError, TypeError, ConfigError, DataError,
        ) as error:  # fmt: skip
            raise DataError(
                f"the scores file can't be read: {error}", where=path, remedy=remedy
            ) from error
