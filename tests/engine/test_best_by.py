"""--best-by: the checkpoint whose samples are best by a metric is the one that is used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from pgen.engine.best_by import BestBy
from pgen.engine.run import Run

DATA, HELD_OUT = "simulate:n=64,size=16,seed=1", "simulate:n=40,size=16,seed=2"
SMALL = ("--n-hidden", 16, "--batch-size", 16, "--num-epochs", 6, "--checkpoint", 8, "--sample-size", 0, "--save-root", "runs")


def judged(run: Path, metric: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[f"held_out_{metric}"] for line in lines if f"held_out_{metric}" in line}


def test_of_images(pgen, tmp_path: Path) -> None:
    pgen("train", "gan", "--data", DATA, "--held-out", HELD_OUT, "--best-by", "wasserstein", *SMALL, "--name", "gan", cwd=tmp_path)
    values = judged(tmp_path / "runs/gan", "wasserstein")
    assert list(values) == [8, 16, 24] and len(set(values.values())) == 3
    run = Run.open(tmp_path / "runs/gan", device=torch.device("cpu"))
    model, step = run.load("best")
    assert step == min(values, key=lambda each: values[each])
    assert BestBy(run).ask(model) == pytest.approx(values[step])
    # High is good of recall; a run that is resumed goes on with the best so far.
    pgen(
        "train", "gan", "--data", DATA, "--held-out", HELD_OUT, "--best-by", "prdc", *SMALL, "--max-steps", 16, "--name", "p", cwd=tmp_path
    )
    pgen("train", "gan", "--resume", "runs/p", "--max-steps", 24, cwd=tmp_path)
    values = judged(tmp_path / "runs/p", "prdc")
    assert list(values) == [8, 16, 24] and all(value <= 0 for value in values.values())
    best = Run.open(tmp_path / "runs/p", device=torch.device("cpu")).load("best")[1]
    assert values[best] == min(values.values())


def test_of_codes_by_their_decoder(pgen, pipeline: Path, tmp_path: Path) -> None:
    codes = pipeline / "runs/ae/deploy/codes.pt"
    held_out = ("--held-out", "simulate:n=30,size=32,seed=9", "--best-by", "fpd")
    small = ("--num-epochs", 2, "--ots-steps", 10, "--batch-size", 32, "--n-hidden", 16, "--checkpoint", 10, "--sample-size", 0)
    pgen("train", "ewm", "--targets", codes, *held_out, *small, "--name", "ewm", "--save-root", tmp_path, cwd=tmp_path)
    values = judged(tmp_path / "ewm", "fpd")
    assert len(values) >= 2 and all(map(math.isfinite, values.values()))


def test_what_cannot_be_judged_is_refused(refuses, tmp_path: Path) -> None:
    for arguments, saying in (
        (("gan", "--data", DATA, "--best-by", "fpd"), "name them with --held-out"),
        (("gan", "--data", DATA, "--best-by", "fdp", "--held-out", HELD_OUT), "There is no metric called 'fdp'"),
        (("ae", "--data", DATA, "--best-by", "fpd", "--held-out", HELD_OUT), "generates nothing that could be compared"),
        (("gan", "--data", DATA, "--best-by", "fpd", "--held-out", "simulate:n=40,size=8,seed=2"), "40 images of (1, 8, 8)"),
        (("gan", "--data", DATA, "--held-out", HELD_OUT), "--best-by fpd"),
    ):
        refuses("train", *arguments, "--name", "x", saying=saying, cwd=tmp_path)
    assert not (tmp_path / "runs").exists()
