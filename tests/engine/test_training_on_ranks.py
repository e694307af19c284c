"""Two and four processes that train together come to what one comes to, however they were launched."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.artifacts.run_directory import RunDirectory
from tests.conftest import run_pgen
from tests.engine.test_resume import cut_back
from tests.helpers.launchers import ended, forked, srun, torchrun

IMAGES = "simulate:n=42,size=16,seed=3"
COMMON = ("--sample-size", 0, "--log-every", 5, "--save-root", "runs", "--device", "cpu")
TOLD = ("--condition", "type,momentum")
# Three batches an epoch, of 19, 19 and 4 images: no multiples of the ranks.
MODELS = {
    "gan": ("--data", IMAGES, *TOLD, "--n-hidden", 16, "--batch-size", 19, "--max-steps", 10, "--flip", "both"),
    "ae": ("--data", IMAGES, *TOLD, "--n-layers", 2, "--depth", 4, "--l-dim", 8, "--batch-size", 19, "--p", 0.2, "--threshold", 10,
           "--max-steps", 10, "--ema", 0.9, "--max-grad-norm", 1, "--crop", 12),
    "ewm": ("--targets", IMAGES, *TOLD, "--n-hidden", 16, "--ots-steps", 9, "--batch-size", 32, "--p", 0.2, "--max-steps", 30),
    "flow": ("--targets", IMAGES, *TOLD, "--n-hidden", 8, "--n-layers", 2, "--batch-size", 32, "--max-steps", 10),
}  # fmt: skip


def checkpoint(run: Path) -> Checkpoint:
    return checkpoints.load(RunDirectory(run))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a model that one process trained, trained once."""
    root = tmp_path_factory.mktemp("alone")

    def train(model: str) -> Path:
        if not (root / "runs" / model).exists():
            done = run_pgen("train", model, *MODELS[model], *COMMON, "--name", model, cwd=root)
            assert done.returncode == 0, done.stderr
        return root / "runs" / model

    return train


def assert_alike(one: Path, several: Path) -> None:
    """The same weights, state, average and metrics, but for the order of sums."""
    a, b = checkpoint(one), checkpoint(several)
    assert a.step == b.step
    for first, second in ((a.model, b.model), (a.inference_state, b.inference_state)):
        assert first.keys() == second.keys()
        for name, values in first.items():
            torch.testing.assert_close(second[name], values, rtol=1e-3, atol=1e-4, msg=name)
    lines = [RunDirectory(run).read_metrics() for run in (one, several)]
    for first, second in zip(*lines, strict=True):
        for name in set(first) - {"samples_per_second"}:
            assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-4, nan_ok=True), name


@pytest.mark.parametrize(
    ("launch", "ranks", "model"), [(torchrun, 2, "gan"), (torchrun, 2, "ewm"), (forked, 4, "ae"), (forked, 4, "ewm"), (forked, 4, "flow")]
)
def test_several_ranks_come_to_what_one_comes_to(launch: Callable, ranks: int, model: str, alone, tmp_path: Path) -> None:
    one = alone(model)
    said = ended(launch(ranks, "train", model, *MODELS[model], *COMMON, "--name", "x", cwd=tmp_path))
    assert [code for code, _ in said] == [0] * len(said), said
    assert_alike(one, tmp_path / "runs/x")
    # The first rank alone writes and talks.
    assert "".join(text for _, text in said).count("finished at step") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]
    assert (tmp_path / "runs/x/log.txt").read_text().count(f"x {ranks} ranks") == 1


def test_another_number_of_ranks_goes_on_and_says_so(alone, tmp_path: Path) -> None:
    arguments = dict(zip(MODELS["ewm"][::2], MODELS["ewm"][1::2], strict=True)) | {"--checkpoint": 15}
    flat = [part for pair in arguments.items() for part in pair]
    (said,) = ended(torchrun(2, "train", "ewm", *flat, *COMMON, "--name", "x", cwd=tmp_path))
    assert said[0] == 0, said
    cut_back(tmp_path / "runs/x", 15)
    done = run_pgen("train", "ewm", "--resume", "runs/x", cwd=tmp_path)
    assert "2 rank(s) trained this run before, now 1" in done.stderr
    assert_alike(alone("ewm"), tmp_path / "runs/x")


@pytest.mark.parametrize(
    ("ranks", "arguments", "sentence"),
    [
        (2, ("train", "gan", "--data", "nothing.h5"), "nothing.h5"),
        (4, ("train", "gan", "--data", IMAGES, "--batch-size", 20), "a last batch of 2, expected one for each of 4 ranks"),
        (2, ("train", "ewm", "--targets", IMAGES, "--batch-size", 33), "expected a multiple of the 2 ranks"),
    ],
)
def test_bad_input_is_told_once_and_ends_all(ranks: int, arguments: tuple, sentence: str, tmp_path: Path) -> None:
    said = ended(forked(ranks, *arguments, *COMMON, "--name", "x", cwd=tmp_path))
    assert [code for code, _ in said] == [2] * ranks, said
    told = [" ".join(text.split()) for _, text in said]
    assert sentence in told[0] and "Traceback" not in told[0] and not any(told[1:]), told


def wait_for(path: Path, processes: list) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and all(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


ENDLESS = ("train", "gan", *MODELS["gan"][:-4], "--num-epochs", 10**6, "--sample-size", 0, "--log-every", 1, "--device", "cpu")


def test_a_rank_that_dies_takes_no_checkpoint_with_it(tmp_path: Path) -> None:
    processes = srun(2, *ENDLESS, "--checkpoint", 5, "--name", "x", cwd=tmp_path)
    wait_for(tmp_path / "runs/x/model/weights.safetensors", processes)
    processes[1].kill()
    (code, text), (killed, _) = ended(processes)
    assert (code, killed) == (1, -signal.SIGKILL), text
    assert "another rank has ended" in " ".join(text.split()) and "Traceback" not in text
    last = checkpoint(tmp_path / "runs/x").step
    done = run_pgen("train", "gan", "--resume", "runs/x", "--max-steps", last + 2, cwd=tmp_path)
    assert done.returncode == 0 and f"from step {last}" in done.stderr, done.stderr


def test_preemption_of_one_rank_stops_all_at_one_step(tmp_path: Path) -> None:
    processes = srun(2, *ENDLESS, "--name", "x", "--requeue-exit-code", 85, cwd=tmp_path)
    wait_for(tmp_path / "runs/x/metrics.jsonl", processes)
    processes[1].send_signal(signal.SIGTERM)
    said = ended(processes)
    assert [code for code, _ in said] == [85, 85], said
    last = checkpoint(tmp_path / "runs/x").step
    assert last == json.loads((tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()[-1])["step"]
    # A job script that SLURM starts again.
    (code, text), _ = ended(srun(2, *ENDLESS, "--name", "x", "--resume", "auto", "--max-steps", last + 2, cwd=tmp_path))
    assert code == 0 and f"from step {last}" in (said := " ".join(text.split())) and f"finished at step {last + 2}" in said, text
