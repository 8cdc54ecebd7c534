"""Run ``hemlets ablate`` without Prefect and MLflow: ``python -m flows.ablation``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.ablation.arms import ARMS, in_order
from flows.ablation.report import write_report
from flows.ablation.results import Results
from flows.ablation.runs import Bench
from flows.ablation.study import Study
from hemlets.data.synthetic import build_open_data


def main() -> None:
    """Run every planned run that has no row yet, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="of rendered data and features")
    parser.add_argument("--results", type=Path, required=True, help="file of rows")
    parser.add_argument("--data", type=Path, help="data version; rendered by default")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int)
    parser.add_argument("--page", type=Path, help="folder of the page, written from the rows")
    found = parser.parse_args()
    study = Study()
    data = found.data or found.folder / f"data-{study.data.hash[:12]}"
    if not found.data:
        build_open_data(study.data, data)
    bench = Bench(study=study, data=data, folder=found.folder, photos=found.photos)
    table = Results.read(found.results)
    planned = [bench.plan(arm, seed) for arm, seed in in_order(ARMS, found.seeds)]
    for run in [run for run in planned if run.key not in table.rows][: found.most]:
        table.add(row := bench.run(run))
        print(f"{run.name}: {row.figures['mpjpe_mm']:.1f} mm, {row.seconds:.0f} s", flush=True)

    if found.page:
        rows = [table.rows[run.key] for run in planned if run.key in table.rows]
        write_report(study, rows, found.page, "evidence", found.seeds)


if __name__ == "__main__":
    main()
