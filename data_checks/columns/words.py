"""Fields with a fixed vocabulary, and numbers beside the labels."""

from __future__ import annotations

import numpy as np

from data_checks.columns.base import Column, Columns
from hemlets.data.table import Annotations


def word_columns(table: Annotations) -> Columns:
    """Genders, sources of relations, placement in the source image, frame and head length.

    And whether rows are annotated that should be, and are not that should not.
    """
    scale_N = table.stored_from_source[:, 2].astype(np.float64)
    box_N4 = table.box_xyxy.astype(np.float64)
    head_N = table.head_px.astype(np.float64)
    side_N = np.maximum((box_N4[:, 2:] - box_N4[:, :2]).max(1), 1e-3)
    taught_N = (
        table.valid2d.any(1) | table.valid3d.any(1) | table.relations_valid.any(1)
        | table.smpl_valid
    )  # fmt: skip
    nobody_N = ~table.shows_person
    labels_N = (
        table.valid2d.sum(1) + table.valid3d.sum(1) + table.relations_valid.sum(1)
        + table.visible.sum(1) + table.smpl_valid + table.transl_valid
        + np.array([bool(mask) for mask in table.mask], bool)
    )  # fmt: skip
    sides_N = np.minimum(table.image_width, table.image_height).astype(np.float64)

    splits = table.column("split")

    def text(field: str) -> Column:
        values = np.asarray([str(value) for value in table.column(field)], object)
        return Column(values=values, observed=lambda row: f"{field} {values[row]!r}")

    return {
        "gender_known": text("gender"),
        "relations_source_known": text("relations_source"),
        "stored_scale_positive": Column(
            values=scale_N, observed=lambda row: f"scale {scale_N[row]:g}"
        ),
        "frame_counts_up": Column(
            values=table.frame.astype(np.float64),
            observed=lambda row: f"frame {table.frame[row]}",
        ),
        "head_length_plausible": Column(
            values=head_N / side_N,
            observed=lambda row: f"head {head_N[row]:g} px in a box of {side_N[row]:g} px",
        ),
        "image_has_size": Column(
            values=sides_N,
            observed=lambda row: f"image {table.image_width[row]}×{table.image_height[row]} px",
        ),
        "row_teaches": Column(
            values=(taught_N | nobody_N).astype(np.float64),
            observed=lambda row: "no joint, relation or body is annotated",
        ),
        "background_unannotated": Column(
            values=np.where(nobody_N, labels_N, np.nan),
            observed=lambda row: f"{labels_N[row]:.0f} labels of a person in {splits[row]!r}",
        ),
    }
