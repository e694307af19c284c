"""--best-by: the checkpoint with the best samples by a metric is used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import read_header
from pgen.engine.run import Run
from pgen.engine.training.metric_score import MetricScore
from pgen.engine.training.session import TrainingSession
from tests.conftest import IMAGES, SMALL_AE
from tests.helpers.packages import fake_package, on_path

DATA, HELD_OUT = "simulate:n=64,size=16,seed=1", "simulate:n=40,size=16,seed=2"
SMALL = ("--n-hidden", 16, "--batch-size", 16, "--num-epochs", 6, "--checkpoint", 8, "--sample-size", 0, "--save-root", "runs")


def read_scores(run: Path, metric: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[f"held_out_{metric}"] for line in lines if f"held_out_{metric}" in line}


def test_the_checkpoint_with_the_best_images_is_used(pgen, tmp_path: Path) -> None:
    pgen("train", "gan", "--data", DATA, "--held-out", HELD_OUT, "--best-by", "wasserstein", *SMALL, "--name", "gan", cwd=tmp_path)
    values = read_scores(tmp_path / "runs/gan", "wasserstein")
    assert list(values) == [8, 16, 24] and len(set(values.values())) == 3
    run = Run.open(tmp_path / "runs/gan", device=torch.device("cpu"))
    model, step = run.load_checkpoint("best")
    assert step == min(values, key=lambda number: values[number])
    assert MetricScore(TrainingSession(run))(model) == pytest.approx(values[step])
    # High recall is good; a resumed run keeps the best so far.
    pgen(
        "train", "gan", "--data", DATA, "--held-out", HELD_OUT, "--best-by", "prdc", *SMALL, "--max-steps", 16, "--name", "p", cwd=tmp_path
    )
    pgen("train", "gan", "--resume", "runs/p", "--max-steps", 24, cwd=tmp_path)
    values = read_scores(tmp_path / "runs/p", "prdc")
    assert list(values) == [8, 16, 24] and all(value <= 0 for value in values.values())
    best = Run.open(tmp_path / "runs/p", device=torch.device("cpu")).load_checkpoint("best")[1]
    assert values[best] == min(values.values())


def test_latent_codes_are_decoded_and_scored_as_images(pgen, pipeline: Path, tmp_path: Path) -> None:
    codes = pipeline / "runs/ae/deploy/codes.pt"
    held_out = ("--held-out", "simulate:n=30,size=32,seed=9", "--best-by", "fpd")
    small = ("--num-epochs", 2, "--ots-steps", 10, "--batch-size", 32, "--n-hidden", 16, "--checkpoint", 10, "--sample-size", 0)
    pgen("train", "ewm", "--targets", codes, *held_out, *small, "--name", "ewm", "--save-root", tmp_path, cwd=tmp_path)
    values = read_scores(tmp_path / "ewm", "fpd")
    assert len(values) >= 2 and all(map(math.isfinite, values.values()))


def test_runs_that_cannot_be_scored_are_refused(refuses, tmp_path: Path) -> None:
    for arguments, saying in (
        (("gan", "--data", DATA, "--best-by", "fpd"), "name them with --held-out"),
        (("gan", "--data", DATA, "--best-by", "fdp", "--held-out", HELD_OUT), "There is no metric called 'fdp'"),
        (("ae", "--data", DATA, "--best-by", "fpd", "--held-out", HELD_OUT), "generates nothing that could be compared"),
        (
            ("gan", "--data", DATA, "--best-by", "fpd", "--held-out", "simulate:n=40,size=8,seed=2"),
            "found images of (1, 8, 8), wanted (1, 16, 16)",
        ),
        (("gan", "--data", DATA, "--held-out", HELD_OUT), "--best-by fpd"),
    ):
        refuses("train", *arguments, "--name", "x", saying=saying, cwd=tmp_path)
    assert not (tmp_path / "runs").exists()


def test_held_out_images_of_a_metric_are_checked(pgen, refuses, pipeline: Path, tmp_path: Path) -> None:
    for name, seed in (("train", 1), ("held_out", 2)):
        pgen("data", "simulate", "-n", 30, "--size", 32, "--seed", seed, "--out", f"{name}.h5", cwd=tmp_path)
    charge = read_all(open_images(str(tmp_path / "held_out.h5")))
    write_images(tmp_path / "kev.h5", ArrayImages(charge, unit="keV"))
    write_images(tmp_path / "mixed.h5", ArrayImages(np.concatenate([charge, read_all(open_images(str(tmp_path / "train.h5")))[:4]])))
    common = ("--best-by", "physics", "--max-steps", 1, "--sample-size", 0, "--name", "x", "--held-out")
    gan = ("train", "gan", "--data", "train.h5", "--n-hidden", 4, *common)
    refuses(*gan, "kev.h5", saying="found charge in 'keV', wanted 'ADC'", cwd=tmp_path)
    refuses(*gan, "train.h5", saying="holds the training data itself", cwd=tmp_path)
    refuses(*gan, "train.h5:entries=3-27", saying="holds only training images", cwd=tmp_path)
    # For latent codes: the images that they decode to, and those they were encoded from.
    codes = pipeline / "runs/ae/deploy/codes.pt"
    ewm = ("train", "ewm", "--targets", codes, "--n-hidden", 4, "--ots-steps", 6, *common)
    refuses(*ewm, "simulate:n=30,size=24,seed=9", saying="found images of (1, 24, 24), wanted (1, 32, 32)", cwd=tmp_path)
    refuses(*ewm, "kev.h5", saying="wanted 'ADC'", cwd=tmp_path)
    refuses(*ewm, IMAGES, saying="holds the training data itself", cwd=tmp_path)
    np.save(tmp_path / "codes.npy", np.random.default_rng(0).random((30, 4), dtype=np.float32))
    refuses(*ewm[:2], "--targets", "codes.npy", *ewm[4:], "held_out.h5", saying="codes.npy came without a decoder", cwd=tmp_path)
    assert not (tmp_path / "runs").exists()
    log = pgen(*gan, "mixed.h5", cwd=tmp_path).stderr
    assert "warning: 4 of the 34 held-out images are training images too" in " ".join(log.split())


METRIC = """
from pgen import MetricSpec, hookimpl
@hookimpl
def pgen_metrics():
    return [MetricSpec("odd", "a metric", "odd_module:odd")]
VALUES = [float("nan"), float("inf"), "refused", 7.0, float("nan"), 5.0, 6.0]
def odd(sets):
    from pgen import UserError
    from pgen.metrics import Measurement, MetricResult
    value = VALUES.pop(0)
    if value == "refused":
        raise UserError("odd: no such images")
    return MetricResult("odd", (Measurement("odd", value, 0.0, (0.0, 0.0), 1),))
"""


def test_a_score_that_cannot_be_computed_is_never_the_best(pgen, tmp_path: Path) -> None:
    fake_package(tmp_path, "odd", METRIC, "pgen.metrics")
    arguments = ("train", "gan", "--data", DATA, "--held-out", HELD_OUT, "--best-by", "odd", "--n-hidden", 4, "--batch-size", 16)
    steps = ("--checkpoint", 2, "--max-steps", 14, "--keep-checkpoints", 9, "--sample-size", 0, "--name", "x")
    log = pgen(*arguments, *steps, env=on_path(tmp_path), cwd=tmp_path).stderr
    saved = [line for line in log.splitlines() if line.startswith("saved")]
    assert [line.partition(".pt")[2] for line in saved] == [
        "", "", "", " (best: held_out_odd 7)", "", " (best: held_out_odd 5)", "",
    ]  # fmt: skip
    for text in ("held_out_odd of step 2 is nan", "held_out_odd of step 4 is inf", "odd: no such images", "held_out_odd of step 10 is nan"):
        assert text in " ".join(log.split()), log
    run = RunDirectory(tmp_path / "runs/x")
    assert read_header(run.weights).step == 12
    assert [checkpoints.load(run, step).best for step in (2, 6, 8, 14)] == [None, None, (8, 7.0), (12, 5.0)]


def test_an_infinite_best_score_of_an_earlier_version_is_ignored(pgen, tmp_path: Path) -> None:
    arguments = ("train", "ae", "--data", DATA, "--held-out", HELD_OUT, *SMALL_AE, "--sample-size", 0)
    pgen(*arguments, "--max-steps", 4, "--checkpoint", 2, "--name", "x", cwd=tmp_path)
    folder = RunDirectory(tmp_path / "runs/x")
    saved = checkpoints.load(folder)
    saved.best = (2, math.inf)
    checkpoints.save(folder, saved, keep=3)
    pgen("train", "ae", "--resume", "runs/x", "--max-steps", 6, cwd=tmp_path)
    assert checkpoints.load(folder).best[0] == read_header(folder.weights).step == 6
