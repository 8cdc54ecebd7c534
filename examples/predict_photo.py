"""Predict everybody in a photo: ``python examples/predict_photo.py photo.jpg``.

Prints where each person stands and writes JSON, a picture and a 3D page.
"""

from __future__ import annotations

import sys

import hemlets


def main(photo: str, out: str = "predictions") -> None:
    """Predict a photo and save what was found in a folder."""
    model = hemlets.load()
    people = model(photo)
    print(f"{len(people)} people in {photo}")
    for number, person in enumerate(people):
        x, y, z = person.pelvis_mm / 1000
        print(
            f"  {number}: confidence {person.confidence:.2f}, pelvis at "
            f"x {x:.2f}, y {y:.2f}, z {z:.2f} m, {len(person.vertices_mm)} vertices"
        )
    people.save(out, page=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
