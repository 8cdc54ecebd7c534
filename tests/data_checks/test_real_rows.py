"""Rows as real datasets give them: clean ones pass, and each fault is named.

They are rendered people with what a dataset lacks taken away: 3D, bodies, cameras, joints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_checks.datasets import DATASETS
from data_checks.result import ValidationResult
from data_checks.rules.body import RENDERED_SOURCES
from data_checks.validate import validate
from hemlets.core.skeleton import FLIP_JOINTS, Joint, depth_relations

Columns = dict[str, Any]
Change = Callable[[Columns], None]
RowChange = Callable[[Columns, int], None]
ROWS, ROWS_TO_TRAIN = 60, 24
SAMPLES = Path(os.environ["HEMLETS_SAMPLES"])


def hide(columns: Columns, *, joints3d: bool = False, camera: bool = False) -> None:
    """Take bodies and masks away, and 3D joints or cameras if asked to."""
    for field in ("theta", "betas", "transl_mm", "smpl_valid", "transl_valid"):
        columns[field][:] = 0
    columns["mask"][:] = b""
    columns["gender"][:] = ""
    if joints3d:
        for field in ("joints3d_mm", "valid3d", "relations", "relations_valid"):
            columns[field][:] = 0
        columns["relations_source"][:] = ""
    if joints3d or camera:
        columns["camera"][:] = 0
        columns["camera_valid"][:] = False


def rename(columns: Columns, source: str) -> None:
    columns["source"][:] = source
    columns["family"][:] = columns["subject"]
    for joint in DATASETS[source].absent:
        for field in ("joints2d_px", "joints3d_mm", "valid2d", "valid3d", "visible", "truncated"):
            columns[field][:, joint] = 0
    relations, valid = depth_relations(columns["joints3d_mm"], columns["valid3d"])
    columns["relations"][:] = relations * columns["relations_valid"]
    columns["relations_valid"] &= valid
    columns["relations"] *= columns["relations_valid"]


def as_stills(columns: Columns, source: str) -> None:
    """2D joints only, as LSPET has them."""
    hide(columns, joints3d=True)
    rename(columns, source)
    columns["subject"][:] = columns["clip"][:] = columns["sample_id"]


def as_labelled(columns: Columns, source: str) -> None:
    """2D joints and people's depth relations."""
    relations, valid = columns["relations"].copy(), columns["relations_valid"].copy()
    as_stills(columns, source)
    columns["relations"], columns["relations_valid"] = relations, valid
    columns["relations_source"][:] = "fbi"


def as_studio(columns: Columns, source: str) -> None:
    """3D joints and cameras, as Human3.6M has them."""
    hide(columns)
    rename(columns, source)
    test = columns["split"] == "test"
    columns["subject"][:] = np.where(test, "S9", "S1")
    columns["camera_id"][:] = "54138969"
    columns["action"][:] = "Walking"
    # Rows lie where they would in an image of 1000×1000 pixels around the principal point.
    columns["stored_from_source"][:, :2] = 500 - columns["camera"][:, 2:]
    columns["stored_from_source"][:, 2] = 1


def as_labelled_studio(columns: Columns, source: str) -> None:
    """3D joints, and depth relations that people labelled."""
    as_studio(columns, source)
    columns["relations_source"][:] = "fbi"


def as_bodies(columns: Columns, source: str) -> None:
    """θ and β with nothing else but 2D joints."""
    kept = {f: columns[f].copy() for f in ("theta", "betas", "smpl_valid", "gender")}
    hide(columns, joints3d=True)
    columns.update(kept)
    rename(columns, source)


@dataclass(frozen=True)
class Kind:
    """What a dataset has, and one that has it."""

    make: Callable[[Columns, str], None]
    source: str


KINDS = {
    "stills": Kind(as_stills, "lspet"),
    "labelled": Kind(as_labelled, "lsp"),
    "studio": Kind(as_studio, "human36m"),
    "labelled studio": Kind(as_labelled_studio, "spin_npz"),
    "bodies": Kind(as_bodies, "up3d"),
}


def put(field: str, value: Any) -> RowChange:
    def change(columns: Columns, row: int) -> None:
        columns[field][row] = value

    return change


def scale(field: str, factor: float) -> RowChange:
    def change(columns: Columns, row: int) -> None:
        columns[field][row] *= factor

    return change


def wrong_height(columns: Columns, row: int) -> None:
    """The camera file says 204 rows where there are 2048: the principal point follows."""
    columns["camera"][row, 3] -= 500 - 51
    columns["joints2d_px"][row, :, 1] -= 500 - 51


def permute(columns: Columns, row: int) -> None:
    chain = [Joint.HEAD_TOP, Joint.RIGHT_ANKLE, Joint.LEFT_WRIST]
    columns["joints3d_mm"][row, chain] = columns["joints3d_mm"][row, chain[1:] + chain[:1]]


def lens(columns: Columns, row: int) -> None:
    columns["distortion"][row] = (-5.0, 0.0, 0.5, 0.5, 0.0)


def same_clip(columns: Columns, row: int) -> None:
    columns["clip"][[row, -1]] = "im00001"


def pile(columns: Columns, row: int) -> None:
    columns["joints2d_px"][row, :5] = 40.0
    columns["valid2d"][row, 1:5] = True


@dataclass(frozen=True)
class Fault:
    """One row's fault."""

    name: str
    kind: str
    change: RowChange
    expectation: str
    blocks: bool = True


FAULTS = (
    Fault("an invented pelvis", "stills", put("valid2d", True), "joints_of_dataset"),
    Fault("3D that the dataset lacks", "stills", put("valid3d", True), "supervision_of_dataset",
          blocks=False),
    Fault("placeholders as joints", "stills", pile, "joints2d_distinct"),
    Fault("NaN in 2D", "stills", put("joints2d_px", np.nan), "joints2d_px_finite"),
    Fault("2D in another scale", "stills", scale("joints2d_px", 4.0), "joints2d_inside_image"),
    Fault("one clip in two splits", "stills", same_clip, "clip_in_one_split"),
    Fault("no size", "stills", put("image_height", 0), "image_has_size"),
    Fault("endless head", "stills", put("head_px", 5000), "head_length_plausible"),
    Fault("NaN head", "stills", put("head_px", np.nan), "head_px_finite"),
    Fault("a scale of zero", "stills", put("stored_from_source", 0), "stored_scale_positive"),
    Fault("NaN in the placement", "stills", put("stored_from_source", np.nan),
          "stored_from_source_finite"),
    Fault("negative frame", "stills", put("frame", -7), "frame_counts_up"),
    Fault("no label at all", "stills", put("valid2d", False), "row_teaches", blocks=False),
    Fault("a name spelled otherwise", "stills", put("source", "LSP-ET"), "source_spelled",
          blocks=False),
    Fault("relations from nowhere", "labelled", put("relations_source", ""),
          "relations_source_told", blocks=False),
    Fault("unknown origin of relations", "labelled", put("relations_source", "guess"),
          "relations_source_known"),
    Fault("computed relations without 3D", "labelled", put("relations_source", "3d"),
          "relations_of_dataset", blocks=False),
    Fault("a relation of 3", "labelled", put("relations", 3), "relations_known_values"),
    Fault("centimetres", "studio", scale("joints3d_mm", 0.1), "skeleton_size"),
    Fault("metres", "studio", scale("joints3d_mm", 0.001), "skeleton_size"),
    Fault("a camera with h=204", "studio", wrong_height, "camera_centre_in_source"),
    Fault("joints permuted", "studio", permute, "bones_in_proportion"),
    Fault("another lens", "studio", lens, "reprojection_matches"),
    Fault("NaN in the lens", "studio", put("distortion", np.nan), "distortion_finite"),
    Fault("a test subject in training", "studio", put("subject", "S9"),
          "test_subject_not_trained_on"),
    Fault("an unknown subject", "studio", put("subject", "S2"), "subject_of_dataset",
          blocks=False),
    Fault("an unknown camera", "studio", put("camera_id", "12345678"), "camera_of_dataset",
          blocks=False),
    Fault("an unknown action", "studio", put("action", "Juggling"), "action_of_dataset",
          blocks=False),
    Fault("an unknown gender", "bodies", put("gender", "f"), "gender_known"),
    Fault("degrees", "bodies", scale("theta", 57.3), "theta_within_half_turn"),
    Fault("an impossible body", "bodies", put("betas", 9.0), "betas_plausible"),
    Fault("infinite β", "bodies", put("betas", np.inf), "betas_finite"),
)  # fmt: skip


def exchange(columns: Columns, *names: str) -> None:
    """Swap left and right of joints in 2D."""
    order = np.arange(18)
    for name in names:
        left, right = Joint[f"LEFT_{name}"], Joint[f"RIGHT_{name}"]
        order[[left, right]] = right, left
    for field in ("joints2d_px", "visible", "truncated", "valid2d"):
        columns[field][:] = columns[field][:, order]


def swap_arms(columns: Columns) -> None:
    exchange(columns, "SHOULDER", "ELBOW", "WRIST")


def swap_elbows(columns: Columns) -> None:
    exchange(columns, "ELBOW")


def turn_axes(columns: Columns) -> None:
    columns["camera_valid"][:] = False
    columns["joints3d_mm"][:] = columns["joints3d_mm"][..., [1, 0, 2]]


def shift_frames(columns: Columns) -> None:
    columns["joints3d_mm"][:] = np.roll(columns["joints3d_mm"], 1, axis=0)


def mirror_labels(columns: Columns) -> None:
    columns["relations"] *= -1


def always_forward(columns: Columns) -> None:
    columns["relations_source"][:] = "fbi"
    columns["relations"][:] = columns["relations_valid"]


def hastily(columns: Columns) -> None:
    columns["label_ms"][:] = 150


def seldom_known(columns: Columns) -> None:
    columns["relations_source"][:] = "fbi"
    columns["relations_valid"][:, 1:] = False
    columns["relations"] *= columns["relations_valid"]


def turn_round(columns: Columns) -> None:
    """Noses that are seen from behind, of eight times as many people."""
    points = columns["joints2d_px"]
    front = points[:, Joint.LEFT_SHOULDER, 0] > points[:, Joint.RIGHT_SHOULDER, 0]
    columns["valid2d"][:, Joint.NOSE] = True
    columns["visible"][:, Joint.NOSE] = front
    for field in ("joints2d_px", "visible", "truncated", "valid2d"):
        columns[field] = columns[field][:, list(FLIP_JOINTS)]
    for field, values in columns.items():
        columns[field] = np.concatenate([values] * 8)


@dataclass(frozen=True)
class Mistake:
    """A reader's mistake: all rows of one dataset have it."""

    name: str
    kind: str
    source: str
    change: Change
    blocks: str
    warns: str = ""


MISTAKES = (
    Mistake("a joint map with swapped arms", "stills", "lsp", swap_arms,
            "left_right_2d_of_source", "left_right_limb_2d"),
    Mistake("a joint map with swapped elbows", "stills", "mpii", swap_elbows,
            "left_right_2d_of_source", "left_right_pair_2d"),
    Mistake("swapped axes", "studio", "surreal", turn_axes, "joints3d_over_2d"),
    Mistake("frames shifted by one", "studio", "human36m", shift_frames, "reprojection_matches"),
    Mistake("labels of the opposite sign", "labelled studio", "spin_npz", mirror_labels,
            "labels_agree_with_depth", "labelled_relations_match_depth"),
    Mistake("an annotator of one key", "labelled", "lspet", always_forward, "labels_vary"),
    Mistake("labels without a look", "labelled", "fbi", hastily, "labels_looked_at"),
    Mistake("an annotator who skips", "labelled", "mpii", seldom_known, "",
            "labels_mostly_known"),
    Mistake("left and right of everybody", "stills", "coco", turn_round, "nose_seen_from_front"),
)  # fmt: skip


def people(fresh: Callable[[], Columns], kind: str, source: str = "") -> Columns:
    """Sixty rows of a kind, without images."""
    columns = fresh()
    KINDS[kind].make(columns, source or KINDS[kind].source)
    columns["shard"][:] = columns["image_hash"][:] = ""
    columns["sample_id"] = np.array([f"{source or kind} {n}" for n in columns["sample_id"]], object)
    return columns


def joined(blocks: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def test_clean_rows_of_every_kind_pass_without_a_warning(fresh, check):
    blocks = {kind: people(fresh, kind) for kind in KINDS}
    # People who label err on slight tilts.
    blocks["labelled studio"]["relations"][:, 0] = 0

    result = check(joined(list(blocks.values())))

    assert result.passed, result.message()
    assert result.warnings == (), result.message()


@pytest.fixture(scope="module")
def of_faults(fresh, check) -> ValidationResult:
    blocks = {kind: people(fresh, kind) for kind in KINDS}
    for row, fault in enumerate(FAULTS):
        fault.change(blocks[fault.kind], row % ROWS_TO_TRAIN)
    return check(joined(list(blocks.values())))


@pytest.mark.parametrize(
    ("row", "fault"), enumerate(FAULTS), ids=[f"{fault.kind}: {fault.name}" for fault in FAULTS]
)
def test_a_fault_is_named_with_its_row(of_faults: ValidationResult, row: int, fault: Fault):
    findings = of_faults.blocking if fault.blocks else of_faults.warnings
    found = {finding.expectation: finding for finding in findings}
    assert fault.expectation in found, of_faults.message()
    told = {named.number: named.observed for named in found[fault.expectation].rows}
    assert told[ROWS * list(KINDS).index(fault.kind) + row % ROWS_TO_TRAIN]


@pytest.fixture(scope="module")
def of_mistakes(fresh, check) -> ValidationResult:
    blocks = [people(fresh, mistake.kind, mistake.source) for mistake in MISTAKES]
    for columns, mistake in zip(blocks, MISTAKES, strict=True):
        mistake.change(columns)
    return check(joined(blocks))


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_readers_mistake_is_seen_in_its_dataset(of_mistakes, mistake: Mistake):
    for expectation, findings in (
        (mistake.blocks, of_mistakes.blocking),
        (mistake.warns, of_mistakes.warnings),
    ):
        found = {finding.expectation: finding for finding in findings}
        if expectation:
            assert expectation in found, of_mistakes.message()
            named = [row.sample_id for row in found[expectation].rows]
            assert any(name.startswith(mistake.source) for name in named)


def test_known_datasets_need_not_have_every_split(fresh, check):
    columns = people(fresh, "stills")
    columns["split"][:] = "train"

    result = check(columns)

    assert result.passed, result.message()
    assert [finding.expectation for finding in result.warnings] == ["ready_for_training"]


def test_every_reader_s_rows_have_a_source_that_is_known():
    from hemlets.data.readers.catalogue import datasets
    from hemlets.data.readers.contract import Supervision

    for dataset in datasets():
        if dataset.supervision == (Supervision.MOTION,):
            continue
        if dataset.name in RENDERED_SOURCES:
            continue
        facts = DATASETS[dataset.name]
        assert facts.joints3d >= (Supervision.JOINTS_3D in dataset.supervision), dataset.name
        assert facts.smpl >= (Supervision.SMPL in dataset.supervision), dataset.name


def test_no_source_is_known_that_no_reader_writes():
    from hemlets.data.readers.catalogue import datasets

    assert set(DATASETS) <= {dataset.name for dataset in datasets()}


@pytest.mark.parametrize(
    ("source", "known", "unknown"),
    [
        ("human36m", ("54138969", "S1/55011271", "ca_04", "0"), ("12345670", "13", "ca_05")),
        ("humaneva", ("C1", "S1_BW4", "camera 7"), ("C5", "BW5", "C8", "11")),
        ("mpi_inf_3dhp", ("0", "13", "video_07", "TS1/test"), ("14", "57", "video_99")),
    ],
)
def test_a_camera_s_number_is_one_of_its_dataset(
    source: str, known: tuple[str, ...], unknown: tuple[str, ...]
):
    fits = {name: re.fullmatch(DATASETS[source].cameras or "", name) for name in known + unknown}
    assert [name for name, match in fits.items() if match] == list(known)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no real samples in {SAMPLES}")
@pytest.mark.parametrize("name", ["lspet", "mpii", "coco", "mpi_inf_3dhp"])
def test_real_rows_pass(name: str, tmp_path: Path):
    from hemlets.data.readers.catalogue import datasets
    from hemlets.data.versions.ingest import ingest

    dataset = next(d for d in datasets() if d.name == name)
    ingest(dataset, SAMPLES / name, tmp_path / "version")

    result = validate(tmp_path / "version", tmp_path / "out")

    assert result.passed, result.message()
