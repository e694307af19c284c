"""Several processes that train together give the result of one, by any launcher."""

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
from tests.engine.test_resume import truncate_run
from tests.helpers.launchers import forked, srun, torchrun, wait_for_exit

IMAGES = "simulate:n=42,size=16,seed=3"
COMMON = ("--sample-size", 0, "--log-every", 5, "--save-root", "runs", "--device", "cpu")
CONDITION = ("--condition", "type,momentum")
# Batches of 19, 19 and 4 images per epoch, which are no multiples of the ranks.
MODELS = {
    "gan": ("--data", IMAGES, *CONDITION, "--n-hidden", 16, "--batch-size", 19, "--max-steps", 10, "--flip", "both"),
    "ae": ("--data", IMAGES, *CONDITION, "--n-layers", 2, "--depth", 4, "--l-dim", 8, "--batch-size", 19, "--p", 0.2, "--threshold", 10,
           "--max-steps", 10, "--ema", 0.9, "--max-grad-norm", 1, "--crop", 12),
    "ewm": ("--targets", IMAGES, *CONDITION, "--n-hidden", 16, "--ots-steps", 9, "--batch-size", 32, "--p", 0.2, "--max-steps", 30),
    "flow": ("--targets", IMAGES, *CONDITION, "--n-hidden", 8, "--n-layers", 2, "--batch-size", 32, "--max-steps", 10),
}  # fmt: skip


def checkpoint(run: Path) -> Checkpoint:
    return checkpoints.load(RunDirectory(run))


@pytest.fixture(scope="module")
def single_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train each model once with one process, and return its run."""
    root = tmp_path_factory.mktemp("single")

    def train(model: str) -> Path:
        if not (root / "runs" / model).exists():
            done = run_pgen("train", model, *MODELS[model], *COMMON, "--name", model, cwd=root)
            assert done.returncode == 0, done.stderr
        return root / "runs" / model

    return train


def assert_alike(one: Path, several: Path) -> None:
    """Compare weights, state, EMA and metrics, up to the order of sums."""
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
def test_several_ranks_give_the_result_of_one(launch: Callable, ranks: int, model: str, single_run, tmp_path: Path) -> None:
    one = single_run(model)
    outputs = wait_for_exit(launch(ranks, "train", model, *MODELS[model], *COMMON, "--name", "x", cwd=tmp_path))
    assert [code for code, _ in outputs] == [0] * len(outputs), outputs
    assert_alike(one, tmp_path / "runs/x")
    # Only rank 0 writes files and logs.
    assert "".join(text for _, text in outputs).count("finished at step") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]
    assert (tmp_path / "runs/x/log.txt").read_text().count(f"x {ranks} ranks") == 1


def test_a_run_resumes_with_another_number_of_ranks_and_logs_it(single_run, tmp_path: Path) -> None:
    arguments = dict(zip(MODELS["ewm"][::2], MODELS["ewm"][1::2], strict=True)) | {"--checkpoint": 15}
    flat = [part for pair in arguments.items() for part in pair]
    (outputs,) = wait_for_exit(torchrun(2, "train", "ewm", *flat, *COMMON, "--name", "x", cwd=tmp_path))
    assert outputs[0] == 0, outputs
    truncate_run(tmp_path / "runs/x", 15)
    done = run_pgen("train", "ewm", "--resume", "runs/x", cwd=tmp_path)
    assert "2 rank(s) trained this run before, now 1" in done.stderr
    assert_alike(single_run("ewm"), tmp_path / "runs/x")


@pytest.mark.parametrize(
    ("ranks", "arguments", "sentence"),
    [
        (2, ("train", "gan", "--data", "nothing.h5"), "nothing.h5"),
        (4, ("train", "gan", "--data", IMAGES, "--batch-size", 20), "a last batch of 2, expected one for each of 4 ranks"),
        (2, ("train", "ewm", "--targets", IMAGES, "--batch-size", 33), "expected a multiple of the 2 ranks"),
    ],
)
def test_bad_input_is_reported_by_rank_0_and_ends_all(ranks: int, arguments: tuple, sentence: str, tmp_path: Path) -> None:
    outputs = wait_for_exit(forked(ranks, *arguments, *COMMON, "--name", "x", cwd=tmp_path))
    assert [code for code, _ in outputs] == [2] * ranks, outputs
    messages = [" ".join(text.split()) for _, text in outputs]
    assert sentence in messages[0] and "Traceback" not in messages[0] and not any(messages[1:]), messages


def wait_for(path: Path, processes: list) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and all(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


ENDLESS = ("train", "gan", *MODELS["gan"][:-4], "--num-epochs", 10**6, "--sample-size", 0, "--log-every", 1, "--device", "cpu")


def test_a_killed_rank_loses_no_checkpoint(tmp_path: Path) -> None:
    processes = srun(2, *ENDLESS, "--checkpoint", 5, "--name", "x", cwd=tmp_path)
    wait_for(tmp_path / "runs/x/model/weights.safetensors", processes)
    processes[1].kill()
    (code, text), (killed, _) = wait_for_exit(processes)
    assert (code, killed) == (1, -signal.SIGKILL), text
    assert "another rank has ended" in " ".join(text.split()) and "Traceback" not in text
    last = checkpoint(tmp_path / "runs/x").step
    done = run_pgen("train", "gan", "--resume", "runs/x", "--max-steps", last + 2, cwd=tmp_path)
    assert done.returncode == 0 and f"from step {last}" in done.stderr, done.stderr


def test_preemption_of_one_rank_stops_all_at_the_same_step(tmp_path: Path) -> None:
    processes = srun(2, *ENDLESS, "--name", "x", "--requeue-exit-code", 85, cwd=tmp_path)
    wait_for(tmp_path / "runs/x/metrics.jsonl", processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = wait_for_exit(processes)
    assert [code for code, _ in outputs] == [85, 85], outputs
    last = checkpoint(tmp_path / "runs/x").step
    assert last == json.loads((tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()[-1])["step"]
    # A job script that SLURM starts again.
    (code, text), _ = wait_for_exit(srun(2, *ENDLESS, "--name", "x", "--resume", "auto", "--max-steps", last + 2, cwd=tmp_path))
    assert code == 0 and f"from step {last}" in (log := " ".join(text.split())) and f"finished at step {last + 2}" in log, text
