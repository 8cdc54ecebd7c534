"""Run MediaPipe Pose on crops in a separate environment: ``worker.py FOLDER full|heavy``.

Imports nothing of hemlets. ``FOLDER/crops.json`` lists the PNG files; ``FOLDER/answer.json`` gets
for each the 33 landmarks as x, y (shares of the crop) and visibility, the 33 of the world in
metres, and the time in milliseconds; null where MediaPipe finds nobody.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import mediapipe


def main() -> None:
    """Predict all crops of a folder."""
    folder, size = Path(sys.argv[1]), sys.argv[2]
    complexity = {"full": 1, "heavy": 2}[size]
    answers: list[dict[str, Any]] = []
    with mediapipe.solutions.pose.Pose(
        static_image_mode=True, model_complexity=complexity, min_detection_confidence=0.5
    ) as pose:
        for name in json.loads((folder / "crops.json").read_text(encoding="utf-8")):
            image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
            begun, busy = time.perf_counter(), time.process_time()
            found = pose.process(image)
            took = [1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)]
            if found.pose_landmarks is None:
                answers.append({"took_ms": took, "image": None, "world": None})
                continue
            image_points = [[p.x, p.y, p.visibility] for p in found.pose_landmarks.landmark]
            world = [[p.x, p.y, p.z] for p in found.pose_world_landmarks.landmark]
            answers.append({"took_ms": took, "image": image_points, "world": world})
    version = mediapipe.__version__
    (folder / "answer.json").write_text(
        json.dumps({"version": version, "people": answers}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
