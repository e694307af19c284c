"""Commands keep to the threads and the memory that they are given, and say what to do where these do not suffice."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.main import get_command

from pgen.cli.app import app
from pgen.cli.commands.train import model_command
from pgen.engine import hooks
from pgen.engine.config import TrainConfig
from pgen.engine.runtime.device import room_for_data
from pgen.engine.training.setup import create_run
from pgen.models.gan.config import GanConfig
from pgen.utils import resources
from tests.conftest import IMAGES

GAN = ("train", "gan", "--data", IMAGES, "--n-hidden", 8, "--z-dim", 4, "--sample-size", 0)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
LITTLE = (2 * 2**30, 2 * 2**30)


def threads(run: Path) -> int:
    return json.loads((run / "config.json").read_text())["settings"]["threads"]


def test_a_run_keeps_its_threads(pgen, tmp_path: Path) -> None:
    """Sums depend on how many there are, so the run notes it; a run that resumes with another number says so."""
    run = tmp_path / "runs/x"
    said = pgen(*GAN, "--threads", 3, "--max-steps", 2, "--name", "x", cwd=tmp_path).stderr
    assert threads(run) == 3 and "before, now" not in said
    said = pgen("train", "gan", "--resume", run, "--max-steps", 3, cwd=tmp_path, env=ONE_THREAD).stderr
    assert threads(run) == 1 and "3 thread(s) trained this run before, now 1" in " ".join(said.split())
    said = pgen("train", "gan", "--resume", run, "--max-steps", 4, cwd=tmp_path, env=ONE_THREAD).stderr
    assert threads(run) == 1 and "before, now" not in said


def test_a_busy_machine_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pgen")
    settings = TrainConfig(data="simulate:n=20,size=8,seed=1,threshold=1", batch_size=4, max_steps=2, sample_size=0)
    for threads, load in ((2, 37.2), (2, None), (1, 37.2)):
        monkeypatch.setattr(resources, "busy", lambda load=load: load)
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        caplog.clear()
        run = create_run("gan", settings.model_copy(update={"save_root": str(tmp_path)}), GanConfig(n_hidden=4))
        hooks.train_session(run)
        told = [text for text in caplog.messages if "`threads=1`" in text]
        assert len(told) == (threads > 1 and load is not None) and all("load 37" in text for text in told)


def leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from leaves(f"{path} {name}".strip(), command.get_command(None, name))
    else:
        yield path, command


def test_every_command_that_computes_takes_threads() -> None:
    quick = {"models", "doctor", "data info", "data split", "evaluate losses", "plugin new"}
    for path, command in leaves("", get_command(app)):
        if not path.startswith("train "):
            assert ("threads" in {parameter.name for parameter in command.params}) == (path not in quick), path
    assert "threads" in {parameter.name for parameter in model_command("gan").params}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import run_pgen

    folder = tmp_path_factory.mktemp("limits")
    assert run_pgen(*GAN, "--max-steps", 2, "--name", "gan", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("command", "saying"),
    [
        (("sample", "runs/gan", "-n", 700_000, "--batch-size", 700_000, "--out", "s.h5"), "GiB more): use a smaller --batch-size."),
        (
            ("train", "gan", "--data", "simulate:n=300,size=32,seed=2", "--n-hidden", 2, "--z-dim", 1_000_000, "--batch-size", 300),
            "--batch-size 300: a step does not fit into the memory of cpu (1.12 GiB more); begin a run with a smaller one",
        ),
    ],
)
def test_too_little_memory_is_one_sentence(refuses, run: Path, command: tuple, saying: str) -> None:
    refuses(*command, saying=saying, cwd=run, env=ONE_THREAD, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, LITTLE))
    assert not (run / "s.h5").exists()


def test_more_images_than_memory_are_refused_before(refuses, tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (70_000, 96, 96)).flush()  # holes alone
    sets = ("--generated", "simulate:n=16,size=96,seed=3", "--train", "big.npy", "--held-out", "big.npy")
    saying = "big.npy would take 4.81 GiB of memory, and this job has"
    little = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_DATA, LITTLE)}
    refuses("evaluate", "fpd", *sets, saying=saying, cwd=tmp_path, env=ONE_THREAD, **little)


def test_data_leave_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_memory", lambda: 4000)
    assert room_for_data(torch.device("cpu")) == 1000 and room_for_data(torch.device("cpu"), 2) == 500
