"""Expectations of names: of the row, its split, its dataset and what it is said to carry."""

from __future__ import annotations

from typing import Final

from data_checks.check import Check, Severity, at_most, within
from hemlets.data.table import ALL_SPLITS

IDENTITY: Final[tuple[Check, ...]] = (
    Check(
        name="sample_id_unique", field="sample_id", kind="unique",
        says="Every sample id occurs once.",
        reason="Predictions and shards are joined to annotations by sample id.",
    ),
    Check(
        name="split_known", field="split", kind="among",
        among=ALL_SPLITS,
        says=f"The split is one of {', '.join(ALL_SPLITS)}.",
        reason="A row of an unknown split is silently never used.",
    ),
    at_most(
        "person_annotated_once", "image_hash", 0,
        "No two rows of a split show the same image with the same box.",
        "A duplicated person is counted twice, in the loss and in the metrics.",
    ),
    at_most(
        "image_in_one_split", "image_hash", 1,
        "The same image does not occur in two splits.",
        "An image that was trained on makes held-out errors look better than they are.",
    ),
    at_most(
        "image_alike_in_one_split", "image_hash", 0,
        "No image of a person looks like one of another split (all images of a table of up to "
        "100,000 rows, a sample of a larger one).",
        "A picture that was cut or compressed anew is still the same picture: trained on, it "
        "makes held-out errors look better than they are.",
    ),
    at_most(
        "test_subject_not_trained_on", "subject", 1,
        "Where a dataset's protocol tests on other people, no test subject is trained on.",
        "The model would know the person's build and clothes, and published figures don't.",
    ),
    at_most(
        "clip_in_one_split", "clip", 1,
        "A motion clip, and every mixture with it, stays in one split.",
        "Neighbouring frames of a clip are nearly the same pose.",
    ),
    at_most(
        "family_in_one_split", "family", 1,
        "A family of motions stays in one split.",
        "The splits are made by family; a family in two of them is a leak.",
    ),
)  # fmt: skip

WORDS: Final[tuple[Check, ...]] = (
    Check(
        name="gender_known", field="gender", kind="among", among=("", "neutral", "male", "female"),
        says="The SMPL body's gender is neutral, male or female, or left open.",
        reason="Each gender has its own body model; θ and β of one mean nothing in another.",
    ),
    Check(
        name="relations_source_known", field="relations_source", kind="among",
        among=("", "3d", "fbi", "ordinal"),
        says="Depth relations come from 3d, fbi or ordinal, or are unknown.",
        reason="Computed relations must fit the joints exactly, labelled ones need not.",
    ),
    within(
        "stored_scale_positive", "stored_from_source", 1e-6, None,
        "The scale from the dataset's image to the stored one is positive.",
        "Predictions can't be carried back to the dataset's own image.",
    ),
    within(
        "frame_counts_up", "frame", -1.0, None,
        "Frames count from 0, or are -1 where there are none.",
        "A negative frame is an overflow or a shifted index.",
    ),
    within(
        "head_length_plausible", "head_px", 0.0, 1.5,
        "The reference length of PCKh is at most 1.5 sides of the box; 0 where it is unknown.",
        "PCKh divides by it: a length of another scale makes every joint right or wrong.",
    ),
    within(
        "image_has_size", "image_width, image_height", 1.0, None,
        "Width and height are at least 1 pixel.",
        "Nothing can be said of a box in an image of no size.",
    ),
    Check(
        name="row_teaches", field="valid2d, valid3d, relations_valid, smpl_valid", low=1.0,
        severity=Severity.WARN,
        says="Every row has a joint, a relation or a body, or stands for that there is nobody.",
        reason="A row without labels costs time and teaches nothing.",
    ),
    at_most(
        "background_unannotated", "split", 0,
        "A row of a split without people has nothing annotated.",
        "The same image would be trained on as a person and as nobody.",
    ),
    Check(
        name="source_spelled", field="source", high=0, severity=Severity.WARN,
        says="No dataset's name is spelled in another way than the readers do.",
        reason="A dataset under another name escapes what is known of it.",
    ),
)  # fmt: skip
