"""Render people and look at them: ``python examples/render_people.py people.png``."""

from __future__ import annotations

import sys
from pathlib import Path

from hemlets.body import BodyModel
from hemlets.data.synthetic import MotionLibrary, OpenDataConfig, render_person
from hemlets.reports.drawing import png
from hemlets.reports.drawing.contact_sheet import Tile, contact_sheet


def main(out: str, count: str = "8") -> None:
    """Write a contact sheet of rendered people with boxes, skeletons and depth relations."""
    config = OpenDataConfig(image_px=192, seed=1)
    library, body = MotionLibrary.bundled(), BodyModel.load()
    people = [render_person(config, library, body, "train", n) for n in range(int(count))]
    sheet = contact_sheet([Tile.of_row(person.image, person.row) for person in people])
    Path(out).write_bytes(png(sheet))
    print(f"wrote {len(people)} people to {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
