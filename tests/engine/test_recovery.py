"""After a failure nothing is lost, and the message says what to do."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import read_header
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import open_training_data
from pgen.engine.dataloading.loaders import BatchLoader
from pgen.errors import PgenError
from pgen.plugins import registry
from pgen.utils.drafts import DRAFT, OwnedFolder
from tests.conftest import IMAGES, SMALL_AE, run_pgen

GAN = ("--n-hidden", 8, "--batch-size", 16, "--sample-size", 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN of 12 steps with checkpoints at 4, 8, 12."""
    root = tmp_path_factory.mktemp("trained")
    assert run_pgen("data", "simulate", "-n", 64, "--size", 16, "--out", "data.h5", cwd=root).returncode == 0
    done = run_pgen("train", "gan", "--data", "data.h5", *GAN, "--max-steps", 12, "--checkpoint", 4, "--name", "gan", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_worker_that_crashes_at_exit_loses_nothing(trained: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    # Only in the worker processes, which are spawned.
    (site / "sitecustomize.py").write_text(
        "import sys\nif '--multiprocessing-fork' in sys.argv:\n"
        "    import os, signal, multiprocessing.util as util\n"
        "    util.Finalize(None, os.kill, args=(os.getpid(), signal.SIGABRT), exitpriority=100)\n"
    )
    arguments = ("train", "gan", "--data", trained / "data.h5", *GAN, "--num-workers", 1, "--max-steps", 3, "--name", "gan")
    done = run_pgen(*arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 0, done.stderr
    assert checkpoints.steps(RunDirectory(tmp_path / "runs/gan")) == [3]


def test_errors_of_workers_are_messages(refuses, tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.ones((40, 1, 16, 16), np.float32)
        file["images"][30:] = np.nan
    arguments = ("train", "gan", "--data", "data.h5", *GAN, "--clip", 2, "--num-workers", 1)
    refuses(*arguments, saying="data.h5", cwd=tmp_path)


@pytest.mark.parametrize("fault", ["gone", "killed"])
def test_workers_that_fail_report_the_cause(fault: str, tmp_path: Path) -> None:
    source = tmp_path / "x.npy"
    np.save(source, np.random.default_rng(0).random((400, 8, 8), dtype=np.float32))
    settings = TrainConfig(data=str(source), batch_size=4, num_workers=1)
    stream = BatchLoader(open_training_data(settings, registry.load("gan").spec), settings, torch.device("cpu")).stream(0)
    if fault == "gone":
        source.unlink()
    else:
        next(stream)
        (worker,) = multiprocessing.active_children()
        worker.kill()
    with pytest.raises(PgenError, match="no such file" if fault == "gone" else "`num_workers=1`: a process that reads .*x.npy died"):
        for _ in range(100):
            next(stream)


def test_a_damaged_newest_checkpoint_is_moved_aside_and_reported(pgen, run: Path) -> None:
    folder = RunDirectory(run / "runs/gan")
    newest = checkpoints.path_of(folder, 12)
    newest.write_bytes(newest.read_bytes()[:1000])
    done = pgen("train", "gan", "--resume", "runs/gan", "--max-steps", 10, "--keep-checkpoints", 1, cwd=run)
    assert "step-00000012" in done.stderr and "moved aside" in done.stderr and "from step 8" in done.stderr
    assert checkpoints.steps(folder) == [10]
    assert newest.with_name("step-00000012.pt.broken").is_file()


def test_last_is_the_newest_readable_checkpoint(pgen, trained: Path, tmp_path: Path) -> None:
    pgen("train", "ae", "--data", trained / "data.h5", *SMALL_AE, "--max-steps", 4, "--checkpoint", 2, "--name", "ae", cwd=tmp_path)
    checkpoints.path_of(RunDirectory(tmp_path / "runs/ae"), 4).write_bytes(b"broken")
    pgen("deploy", "runs/ae", "--checkpoint", "last", "--out", "out", cwd=tmp_path)
    assert read_header(tmp_path / "out/decoder.safetensors").step == 2


def test_checkpoints_of_another_model_or_optimiser_are_refused(refuses, run: Path) -> None:
    path = run / "runs/gan/config.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"config": whole["config"] | {"n_hidden": 9}}))
    refuses("train", "gan", "--resume", "runs/gan", "--max-steps", 20, saying="does not fit", cwd=run)
    path.write_text(json.dumps(whole | {"settings": []}))
    refuses("train", "gan", "--resume", "runs/gan", "--max-steps", 20, saying="settings must be a table", cwd=run)
    refuses("train", "gan", "--config", "runs/gan/config.json", saying="tables", cwd=run)
    path.write_text(json.dumps(whole))
    folder = RunDirectory(run / "runs/gan")
    saved = checkpoints.load(folder)
    saved.optimizers = {"other": next(iter(saved.optimizers.values()))}
    checkpoints.save(folder, saved, keep=3)
    refuses("train", "gan", "--resume", "runs/gan", "--max-steps", 20, saying="optimisers", cwd=run)


def test_resume_names_the_limit_repairs_the_weights_and_keeps_the_config(pgen, refuses, run: Path) -> None:
    weights = run / "runs/gan/model/weights.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    done = pgen("train", "gan", "--resume", "runs/gan", cwd=run)
    assert "larger --max-steps" in done.stderr and "--num-epochs" not in done.stderr
    assert weights.read_bytes() == before
    config = (run / "runs/gan/config.json").read_bytes()
    (run / "data.h5").rename(run / "elsewhere.h5")
    refuses("train", "gan", "--resume", "runs/gan", "--max-steps", 20, saying="data.h5", cwd=run)
    assert (run / "runs/gan/config.json").read_bytes() == config


def test_resume_removes_only_the_drafts_of_training(pgen, run: Path) -> None:
    """A damaged log and a config of an earlier version do no harm."""
    folder = run / "runs/gan"
    places = ["config.json", "checkpoints/step-4.pt", "model/weights.safetensors", "samples/step-4.png"]
    own, others = [], [folder / ".images.123.tmp.h5"]
    for path in (folder / place for place in places):
        path.parent.mkdir(exist_ok=True)
        own.append(path.with_name(f".{path.name}.0123abcd{DRAFT}"))
        others.append(path.with_name(f".{path.name}.0123abce{DRAFT}") / "new" / path.name)
        draft = OwnedFolder(own[-1])
        draft.create()
        draft.lock.release()
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\n5\n")
    config = json.loads((folder / "config.json").read_text())
    del config["settings"]["gpu"]
    (folder / "config.json").write_text(json.dumps(config))
    pgen("train", "gan", "--resume", "runs/gan", "--max-steps", 13, "--device", "cpu", cwd=run)
    assert not any(path.exists() for path in own) and all(path.exists() for path in others)


def test_overwrite_does_not_delete_its_own_input(refuses, run: Path) -> None:
    shutil.move(run / "data.h5", run / "runs/gan/da:ta.h5")
    for source in ("~/runs/gan/da:ta.h5", "runs/gan/da:ta.h5", "runs/gan/da:ta.h5:limit=30"):
        refuses("train", "gan", "--data", source, *GAN, "--name", "gan", "--overwrite", saying="would delete", cwd=run,
                env={**os.environ, "HOME": str(run)})  # fmt: skip
    assert (run / "runs/gan/config.json").is_file()


def test_held_out_data_must_differ_from_training_data_and_stay_unchanged(pgen, refuses, tmp_path: Path) -> None:
    for name, seed in (("train", 1), ("held_out", 2), ("other", 3)):
        pgen("data", "simulate", "-n", 32, "--size", 16, "--seed", seed, "--out", f"{name}.h5", cwd=tmp_path)
    arguments = ("train", "ae", "--data", "train.h5", *SMALL_AE, "--max-steps", 2, "--name", "ae", "--held-out")
    refuses(*arguments, "train.h5", saying="holds the training data itself", cwd=tmp_path)
    pgen(*arguments, "held_out.h5", cwd=tmp_path)
    charge = read_all(open_images(str(tmp_path / "other.h5")))
    write_images(tmp_path / "mev.h5", ArrayImages(charge / 100, unit="MeV"))
    refuses(*arguments, "mev.h5", "--overwrite", saying="found charge in 'MeV', wanted 'ADC' as the training data are", cwd=tmp_path)
    refuses("deploy", "runs/ae", "--data", "mev.h5", "--out", "d", saying="wanted 'ADC' as runs/ae was trained on", cwd=tmp_path)
    shutil.move(tmp_path / "other.h5", tmp_path / "held_out.h5")
    refuses("train", "ae", "--resume", "runs/ae", "--max-steps", 4, saying="held_out.h5 has changed", cwd=tmp_path)


def test_a_last_batch_of_one_image_can_be_normalised(pgen, tmp_path: Path) -> None:
    arguments = ("--data", "simulate:n=17,size=16", "--batch-size", 16, "--n-layers", 4, "--depth", 2, "--num-epochs", 1)
    pgen("train", "ae", *arguments, "--name", "ae", cwd=tmp_path)


def test_a_held_out_loss_of_nan_is_replaced_as_the_best() -> None:
    from types import SimpleNamespace

    from pgen.engine.training.model_selection import ModelSelector

    settings = SimpleNamespace(best_by=None)
    run = SimpleNamespace(settings=settings, criterion="held_out_loss")
    selector = ModelSelector(SimpleNamespace(run=run, group=SimpleNamespace(rank=0)))
    is_best = [selector.is_best(1, {"held_out_loss": value}) for value in (float("nan"), 2.0, float("nan"), 3.0, 1.0)]
    assert is_best == [True, True, False, False, True]


def test_ewm_logs_its_certificate_after_a_resume(pgen, tmp_path: Path) -> None:
    arguments = ("train", "ewm", "--targets", IMAGES, "--ots-steps", 6, "--n-hidden", 8, "--sample-size", 0, "--log-every", 1)
    pgen(*arguments, "--max-steps", 8, "--name", "ewm", cwd=tmp_path)
    pgen("train", "ewm", "--resume", "runs/ewm", "--max-steps", 9, cwd=tmp_path)
    rows = RunDirectory(tmp_path / "runs/ewm").read_metrics()
    assert [("chi2" in row) for row in rows if row["step"] in (8, 9)] == [True, True]
    assert torch.isfinite(torch.tensor(rows[-1]["chi2_interval"]))
