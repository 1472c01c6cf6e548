#!/bin/bash
# Make a virtual environment with the development tools and the three packages, editable.
#
#   tests/tools/venv.sh FOLDER
#
# Python is the machine's own (3.11 first, which is what the images have); uv is used where it is there and fetched
# into the environment where it is not.
set -euo pipefail

folder=${1:?folder of the environment}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

python=${SCIENCEBOX_PYTHON:-}
for candidate in /usr/bin/python3.11 python3.11 python3; do
    [ -n "$python" ] || python=$(command -v "$candidate" || true)
done
if [ -z "$python" ]; then
    echo "venv: no python3 here; install one (Debian: apt-get install python3 python3-venv)." >&2
    exit 1
fi

if [ ! -x "$folder/bin/python" ]; then
    "$python" -m venv "$folder" || {
        echo "venv: python3-venv is missing (Debian: apt-get install python3-venv)." >&2
        exit 1
    }
fi
if [ ! -x "$folder/bin/uv" ]; then
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r <(awk '/^uv==/ { print; inside = 1; next } inside && /^ +--hash/ { print; next } { inside = 0 }' \
            "$root/requirements/test.txt")
fi
"$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --require-hashes --no-deps \
    -r "$root/requirements/test.txt"
"$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --no-deps \
    -e "$root/spawner" -e "$root/cvmfs" -e "$root/notebooks"
