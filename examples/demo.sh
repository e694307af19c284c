#!/usr/bin/env bash
# From simulated images to an HTML report: auto-encoder, latent codes, EWM, samples, evaluation. Usage: demo.sh FOLDER
set -euo pipefail
out=${1:-demo}
if [ -e "$out" ]; then
    echo "$out exists already; remove it, or name another folder." >&2
    exit 2
fi

pgen data simulate -n 2500 --size 64 --seed 1 --out "$out/simulated.h5"
pgen data split "$out/simulated.h5" --held-out 500 --out "$out/data"
pgen train ae --data "$out/data/train.h5" --held-out "$out/data/held_out.h5" --threshold 10 --num-epochs 12 --checkpoint 250 --save-root "$out/runs" --name ae
pgen deploy "$out/runs/ae"
pgen train ewm --targets "$out/runs/ae/deploy/codes.pt" --num-epochs 12 --checkpoint 1000 --save-root "$out/runs" --name ewm
pgen sample "$out/runs/ewm" -n 1000 --out "$out/samples.h5" --grid "$out/samples.png"
pgen evaluate hamming --generated "$out/samples.h5" --train "$out/data/train.h5" --held-out "$out/data/held_out.h5" --out "$out/copies"
pgen evaluate all --generated "$out/samples.h5" --train "$out/data/train.h5" --held-out "$out/data/held_out.h5" --out "$out/report"
pgen evaluate reconstruction "$out/runs/ae" --held-out "$out/data/held_out.h5" --out "$out/reconstruction"

echo
echo "Report: $out/report/report.html"
echo "Figures:"
find "$out" -name '*.png' | sort | sed 's/^/  /'
