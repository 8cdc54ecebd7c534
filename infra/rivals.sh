#!/bin/sh
# An environment with MediaPipe for `hemlets benchmark photos --mediapipe`: rivals.sh FOLDER
# The wheel has the detector and the full network, the npm package the heavy one; nothing else is
# downloaded. Prints the interpreter to give to --mediapipe.
set -eu
folder=${1:?usage: rivals.sh FOLDER}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet mediapipe==0.10.21
models=$("$folder/bin/python" -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("mediapipe").origin))')/modules/pose_landmark
if [ ! -f "$models/pose_landmark_heavy.tflite" ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    (cd "$scratch" && npm pack --silent @mediapipe/pose@0.5.1675469404 && tar -xzf ./*.tgz)
    echo "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe  $scratch/package/pose_landmark_heavy.tflite" | sha256sum --check --quiet
    cp "$scratch/package/pose_landmark_heavy.tflite" "$models/"
fi
echo "$folder/bin/python"
