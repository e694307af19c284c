"""Runs of days: restarted job scripts, EMA, patience, loggers and the profiler."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.config import TrainConfig
from pgen.engine.run import Run
from pgen.engine.training import setup
from pgen.engine.training.setup import create_run, resume_run
from pgen.errors import PgenError
from pgen.plugins import registry
from pgen.utils.drafts import DRAFT, OwnedFolder
from tests.conftest import IMAGES, SMALL_AE, run_pgen
from tests.engine.test_resume import wait_for

CPU = torch.device("cpu")
GAN = ("train", "gan", "--data", IMAGES, "--n-hidden", 16, "--batch-size", 20, "--sample-size", 0)


def test_a_job_script_may_be_restarted(pgen, refuses, tmp_path: Path) -> None:
    script = (*GAN, "--name", "x", "--resume", "auto", "--checkpoint", 4, "--num-epochs", 10**6, "--log-every", 1)
    command = [sys.executable, "-m", "pgen", *map(str, (*script, "--requeue-exit-code", 75))]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "runs/x/metrics.jsonl", process)
    # Meanwhile no other process may train it.
    refuses(*script, saying="is being trained by another process", cwd=tmp_path)
    process.send_signal(signal.SIGUSR1)  # as SLURM warns a job that it will be preempted
    process.communicate(timeout=60)
    assert process.returncode == 75
    done = pgen(*script, "--max-steps", 1, cwd=tmp_path)
    assert "nothing was left to do" in done.stderr
    refuses(*script, "--n-hidden", 17, saying="--n-hidden from 16 to 17", cwd=tmp_path)
    refuses(*GAN, "--resume", "auto", saying="--resume auto needs --name", cwd=tmp_path)
    refuses(*script, "--overwrite", saying="no --overwrite", cwd=tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]


def test_two_runs_that_start_at_once_do_not_replace_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainConfig(data="simulate:n=8,size=16", save_root=str(tmp_path), device="cpu")
    config = registry.load("gan").config_class()(n_hidden=4)
    first = create_run("gan", settings, config)
    update = {"name": "gan-1"}
    # As if the other run did not exist yet at the first check.
    monkeypatch.setattr(setup, "next_run_path", lambda *_, **__: first.run.folder.path)
    with pytest.raises(PgenError, match="gan-1 exists already"):
        create_run("gan", settings.model_copy(update=update), config)
    with pytest.raises(PgenError, match="being trained by another process"):
        create_run("gan", settings.model_copy(update=update | {"overwrite": True}), config)
    assert first.run.folder.read_config()["model"] == "gan" and [path.name for path in tmp_path.iterdir()] == ["gan-1"]


def test_a_removed_run_directory_is_made_again(pgen, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pgen", *map(str, (*GAN, "--name", "x", "--num-epochs", 10**6, "--log-every", 1))]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "runs/x/metrics.jsonl", process)
    shutil.rmtree(tmp_path / "runs/x", ignore_errors=True)
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "was made again" in log, log
    pgen("train", "gan", "--resume", "runs/x", "--num-epochs", 1, cwd=tmp_path)


def test_nothing_is_written_into_the_directory_of_another_run(tmp_path: Path) -> None:
    settings = TrainConfig(data="simulate:n=12,size=16", save_root=str(tmp_path), name="x", device="cpu")
    config = registry.load("gan").config_class()(n_hidden=4)
    first = create_run("gan", settings, config)
    (tmp_path / "x").rename(tmp_path / "moved")
    with pytest.raises(PgenError, match=r"was moved or replaced.*is in the moved folder"):
        first.log("into nowhere")
    assert not (tmp_path / "x").exists()
    second = create_run("gan", settings.model_copy(update={"seed": 5}), config)
    before = {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    for write in (lambda: first.record(3, {"loss": 1.0}), lambda: first.log("here"), first.ensure_directory):
        with pytest.raises(PgenError, match="was moved or replaced"):
            write()
    # Nor by writes that began before the move.
    first.__dict__["ensure_directory"] = lambda: None
    state = first.run.new_model().state_dict()
    for write in (
        lambda: first.run.save_weights(state, 3),
        lambda: checkpoints.save(first.run.folder, Checkpoint(3, state, {}), keep=1),
        lambda: first.run.folder.write_config(first.metadata()),
    ):
        with pytest.raises(PgenError, match="was moved or replaced"):
            write()
    assert {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()} == before
    with pytest.raises(PgenError, match="being trained by another process"):
        resume_run(tmp_path / "x", settings)
    # A directory may be moved away and back; its copy is another directory.
    shutil.copytree(tmp_path / "x", tmp_path / "copy")
    (tmp_path / "x").rename(tmp_path / "away")
    (tmp_path / "copy").rename(tmp_path / "x")
    with pytest.raises(PgenError, match="was moved or replaced"):
        second.log("into the copy")
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "away").rename(tmp_path / "x")
    second.log("at home")
    assert "at home" in second.run.folder.log.read_text()


def test_unnamed_runs_that_start_at_once_take_the_next_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainConfig(data="simulate:n=9,size=16", save_root=str(tmp_path / "runs"), device="cpu")
    config = registry.load("gan").config_class()(n_hidden=4)
    next_run_path, calls = setup.next_run_path, []

    def free_for_all(*arguments: object, **options: object) -> Path:
        calls.append(arguments)
        return tmp_path / "runs/gan-1" if len(calls) <= 3 else next_run_path(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(setup, "next_run_path", free_for_all)
    runs = [create_run("gan", settings, config) for _ in range(3)]
    assert [session.run.folder.path.name for session in runs] == ["gan-1", "gan-2", "gan-3"]
    for session in runs:
        session.log("its own")
        assert session.run.folder.log.read_text().count("its own") == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["gan-1", "gan-2", "gan-3"]


def test_a_killed_overwrite_leaves_the_run(pgen, tmp_path: Path) -> None:
    pgen(*GAN, "--max-steps", 2, "--name", "x", cwd=tmp_path)
    # As a kill between the two renames leaves it.
    draft = OwnedFolder(tmp_path / f"runs/.x.0123abcd{DRAFT}")
    draft.create()
    draft.lock.release()
    (draft.path / "old").mkdir()
    (tmp_path / "runs/x").rename(draft.path / "old/x")
    assert "from step 2" in pgen(*GAN, "--max-steps", 3, "--name", "x", "--resume", "auto", cwd=tmp_path).stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]


def test_ema_weights_are_used(pgen, refuses, tmp_path: Path) -> None:
    pgen(*GAN, "--ema", 0.9, "--max-steps", 20, "--name", "ema", cwd=tmp_path)
    pgen(*GAN, "--max-steps", 20, "--name", "plain", cwd=tmp_path)
    ema, plain = (Run.open(tmp_path / "runs" / name, device=CPU) for name in ("ema", "plain"))
    best, last, raw = (ema.load_model(which).state_dict() for which in ("best", "last", "best:raw"))
    other = plain.load_model().state_dict()
    assert all(torch.equal(best[name], last[name]) and torch.equal(raw[name], other[name]) for name in best)
    assert not torch.equal(best["generator.0.weight"], raw["generator.0.weight"])
    refuses("sample", "runs/ema", "-n", 3, "--out", "x.h5", "--checkpoint", "last:rw", saying="optionally with :raw", cwd=tmp_path)


def test_patience_ends_training_once_the_loss_stops_improving(pgen, tmp_path: Path) -> None:
    # At this rate the first steps are the best.
    held_out = ("--held-out", "simulate:n=20,size=32,seed=8", "--patience", 3, "--checkpoint", 2)
    arguments = ("--data", IMAGES, *SMALL_AE, "--ae-lr", 0.1, "--sample-size", 0, *held_out)
    done = pgen("train", "ae", *arguments, "--num-epochs", 200, "--name", "ae", cwd=tmp_path)
    assert "out of patience" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "runs/ae/metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    assert max(losses) == best + 6
    assert Run.open(tmp_path / "runs/ae", device=CPU).load_checkpoint("best")[1] == best
    resumed = pgen("train", "ae", "--resume", "runs/ae", cwd=tmp_path)
    assert "nothing was left to do" in resumed.stderr and "--patience" in resumed.stderr


def test_tensorboard_and_loggers_of_plug_ins_get_metrics(pgen, refuses, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    package = tmp_path / "site"
    (package / "printer-1.dist-info").mkdir(parents=True)
    (package / "printer-1.dist-info/METADATA").write_text("Name: printer\nVersion: 1\n")
    (package / "printer-1.dist-info/entry_points.txt").write_text("[pgen.loggers]\nprinter = printer:Printer\nbroken = printer:nothing\n")
    (package / "printer.py").write_text(
        "from pgen.engine.monitoring.loggers import Logger\n\n\nclass Printer(Logger):\n"
        "    def log_scalars(self, step, values):\n        print(step, sorted(values))\n"
    )
    environment = {"env": {**os.environ, "PYTHONPATH": str(package)}, "cwd": tmp_path}
    arguments = (*GAN[:-1], 4, "--log-every", 2, "--max-steps", 4, "--checkpoint", 2)
    done = pgen(*arguments, "--log-to", "tensorboard,printer", "--name", "x", **environment)
    assert "4 ['d_fake', 'd_loss'" in done.stdout
    pgen("train", "gan", "--resume", "runs/x", "--max-steps", 6, **environment)
    events = EventAccumulator(str(tmp_path / "runs/x/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("g_loss")] == [2, 4, 6]
    assert [event.step for event in events.Images("samples")] == [2, 4, 6]
    refuses(*arguments, "--log-to", "wandb", "--name", "y", saying="installed: tensorboard, broken, printer", **environment)
    refuses(*arguments, "--log-to", "broken", "--name", "y", saying="Plug-in 'broken' of printer 1 is broken", **environment)
    assert not (tmp_path / "runs/y").exists()


def test_the_profile_fits_the_terminal_and_is_saved(pgen, tmp_path: Path) -> None:
    done = pgen(*GAN, "--max-steps", 30, "--profile", "--name", "x", cwd=tmp_path)
    table = (tmp_path / "runs/x/profile.txt").read_text()
    assert table in done.stderr and "the model's training step" in table
    assert max(map(len, table.splitlines())) <= 80 and len(table.splitlines()) <= 24
    assert json.loads((tmp_path / "runs/x/trace.json").read_text())["traceEvents"]


def test_gpu_options_change_nothing_on_the_cpu(pgen, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("more", ("--precision", "tf32", "--deterministic"))):
        pgen(*GAN, "--max-steps", 3, "--device", "cpu", "--name", name, *more, cwd=tmp_path)
    plain, more = (Run.open(tmp_path / "runs" / name, device=CPU).load_model().state_dict() for name in ("plain", "more"))
    assert all(torch.equal(plain[name], more[name]) for name in plain)


def test_compile_without_a_compiler_is_reported(tmp_path: Path) -> None:
    done = run_pgen(*GAN, "--max-steps", 1, "--compile", cwd=tmp_path, env={**os.environ, "CXX": "/no/compiler"}, fresh=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "--compile: " in " ".join(done.stderr.split())
