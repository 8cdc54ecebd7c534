"""Check that enough training people have body labels for the PoSh stage."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flows.profile import Profile
from hemlets.core.errors import DataError

_COLUMNS: Final = ("split", "source", "smpl_valid")


def require_bodies(profile: Profile, data_folder: Path) -> None:
    """Refuse data with too few θ and β before the pose network is trained.

    Both training stages draw all rows uniformly, so the share of rows with a body is the share of a
    batch that equations (9) and (10) supervise.

    Args:
        profile: Profile with the least share.
        data_folder: Data version to train on.

    Raises:
        DataError: Too few training people have θ and β; gives the counts by dataset.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = data_folder / "annotations.parquet"
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the annotation table can't be read: {error}", where=path) from error
    train = table.filter(pc.equal(table.column("split"), "train"))
    people, known = train.num_rows, pc.sum(train.column("smpl_valid")).as_py() or 0
    if people and known >= profile.min_body_share * people:
        return
    by_source = train.group_by("source").aggregate([("smpl_valid", "sum"), ([], "count_all")])
    counts = [
        f"{row['source']} {row['smpl_valid_sum']:,} of {row['count_all']:,}"
        for row in sorted(by_source.to_pylist(), key=lambda row: str(row["source"]))
    ]
    batch = profile.train_posh.batch_size
    raise DataError(
        f"too few training people know their body, θ and β, for the PoSh stage: {known:,} of "
        f"{people:,} ({', '.join(counts) or 'no people'})",
        where=f"{path}: smpl_valid",
        expected=f"at least {100 * profile.min_body_share:g} %, the profile's min_body_share: "
        f"{profile.min_body_share * batch:.1f} of a batch of {batch}",
        remedy="ingest a dataset with bodies and name it in the profile's datasets: human36m from "
        "an npz that has pose and shape (MoSh's), spin_npz (SPIN's fits), surreal, up3d, threedpw; "
        "or render more people with data.samples.train",
    )
