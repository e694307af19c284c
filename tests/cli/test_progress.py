"""What training shows while it runs: a line that fits the terminal, losses where there is no terminal, and what the best checkpoint is."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from pgen.cli import console
from pgen.cli.next_steps import FIRST_STEPS
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import read_header
from pgen.engine.runtime.progress import TrainingStatus
from tests.cli.test_first_use import following
from tests.conftest import SMALL_AE

LOSSES = {"wasserstein": 1234.5678, "chi2": 0.0123, "chi2_interval": 0.00123, "never_hit": 17.0, "certified_wasserstein": 1233.9}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("width", [80, 120])
def test_the_line_fits_the_terminal_and_losses_are_cut_first(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "errors", Console(file=stream, force_terminal=True, width=width, color_system=None, legacy_windows=False))
    with console.show_progress("") as progress:
        progress.training(TrainingStatus(987654, 123, 400, 0.37, 12345.0, LOSSES, 12 * 2**30))
    line = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).rstrip())[-1]
    assert len(line.rstrip()) <= width
    assert line.startswith("epoch 123/400  step 987654 ━")
    assert re.search(r"━ +37 % (-:--:--|\d:\d\d:\d\d) 12345 img/s  12\.0 GiB  w", line)
    assert "certified_wasserstein" not in line and ("wasserstein 1235" in line) == (width == 120)


def test_without_a_terminal_losses_come_soon_and_at_the_end(pgen, tmp_path: Path) -> None:
    # Of three steps, on a machine of any speed.
    said = pgen("train", "gan", "--data", "simulate:n=24,size=8,seed=1", "--n-hidden", 4, "--max-steps", 3, cwd=tmp_path).stderr
    lines = [line for line in said.splitlines() if line.startswith("epoch ")]
    assert lines[0].startswith("epoch 1/20  step 1 ") and "step 3  100%" in lines[-1]
    assert all("d_loss" in line and "img/s" in line for line in lines) and len(set(lines)) == len(lines)
    assert said.count("no held-out images: overfitting goes unseen") == 1 and "--best-by fpd" in said
    again = pgen("train", "gan", "--resume", "runs/gan-1", "--max-steps", 4, cwd=tmp_path).stderr
    assert "no held-out images" not in again


def test_the_best_checkpoint_is_one_and_the_same_everywhere(pgen, tmp_path: Path) -> None:
    # At this rate the first steps are the best.
    held_out = "simulate:n=20,size=16,seed=8"
    judged = (*SMALL_AE, "--ae-lr", 0.2, "--lr-decay", 1, "--checkpoint", 2, "--max-steps", 12, "--keep-checkpoints", 9, "--sample-size", 0)
    said = pgen(
        "train", "ae", "--data", "simulate:n=40,size=16,seed=7", "--held-out", held_out, *judged, "--name", "ae", cwd=tmp_path
    ).stderr
    assert "no held-out images" not in said
    best = {int(step): float(value) for step, value in re.findall(r"saved step-0*(\d+)\.pt \(best: held_out_loss ([\d.e+]+)\)", said)}
    logged = {line["step"]: line["held_out_loss"] for line in RunDirectory(tmp_path / "runs/ae").read_metrics() if "held_out_loss" in line}
    assert all(value == pytest.approx(logged[step], rel=1e-3) for step, value in best.items())
    step = min(logged, key=lambda step: logged[step])
    assert max(best) == read_header(tmp_path / "runs/ae/model/weights.safetensors").step == step < 12
    # By other images, too, which would choose for themselves.
    for images in (held_out, "simulate:n=30,size=16,seed=9,particles=mu"):
        done = pgen("evaluate", "reconstruction", "runs/ae", "--held-out", images, "--out", f"e{len(images)}", cwd=tmp_path)
        assert f"Checkpoint to use: step {step}, the best by held_out_loss in training" in done.stdout
        assert following(done) == [["deploy", "runs/ae"]]


def test_of_a_run_that_was_not_judged_the_smallest_error_counts(pgen, tmp_path: Path) -> None:
    many = (*SMALL_AE, "--ae-lr", 0.2, "--lr-decay", 1, "--checkpoint", 2, "--max-steps", 12, "--keep-checkpoints", 9, "--sample-size", 0)
    pgen("train", "ae", "--data", "simulate:n=40,size=16,seed=7", *many, "--name", "ae", cwd=tmp_path)
    done = pgen("evaluate", "reconstruction", "runs/ae", "--held-out", "simulate:n=20,size=16,seed=8", "--out", "e", cwd=tmp_path)
    errors = {int(row[0]): float(row[2]) for line in done.stdout.splitlines() if len(row := re.findall(r"[\d.]+(?:e[+-]\d+)?", line)) >= 5}
    step = min(errors, key=lambda step: errors[step])
    assert len(errors) == 6 and f"Checkpoint to use: step {step}, the best by held-out MSE" in done.stdout
    assert following(done) == [["deploy", "runs/ae", *([] if step == 12 else ["--checkpoint", str(step)])]]


def test_first_steps_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    begin = [line.strip() for line in FIRST_STEPS.splitlines()]
    first = readme.index(begin[0])
    assert readme[first : first + len(begin)] == begin
