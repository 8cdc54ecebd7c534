"""Run ``hemlets ablate`` without Prefect and MLflow: ``python -m flows.ablation``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.ablation.arms import ARMS, in_order
from flows.ablation.report import write_report
from flows.ablation.results import Results
from flows.ablation.runs import Bench
from flows.ablation.study import Study


def main() -> None:
    """Run every planned run that has no row yet, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "folder", "results"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int)
    parser.add_argument("--samples", type=int, default=Study().samples)
    parser.add_argument("--page", type=Path, help="folder of the page, written from the rows")
    found = parser.parse_args()
    study = Study(samples=found.samples)
    bench = Bench(study=study, data=found.data, folder=found.folder, photos=found.photos)
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
