#!/bin/bash
# All that only a GPU can show, in one command and eight minutes: tests, models, kernels, training steps. See benchmarks/gpu.py.
#
#     benchmarks/gpu.sh [--out FOLDER] [--minutes N] [--cpu] [--wheels FOLDER] [PART ...]
#
# It needs this checkout and a Python (PYTHON=..., 3.11 or later) that has torch; pgen need not be installed. Where other packages are
# missing and there is no network, `pip download -d wheels NAME ...` elsewhere, for that Python, and give the folder as --wheels.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
arguments=()
while (($#)); do
  case $1 in
    --wheels) "$python" -m pip install --quiet --no-index --no-deps --target "$site" "$2"/*.whl; shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
export PYTHONPATH=$site:$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
"$python" "$root/benchmarks/gpu.py" --site "$site" "${arguments[@]}"
