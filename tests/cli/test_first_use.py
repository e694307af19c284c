"""What a newcomer sees: `pgen` alone, and the command that each command names as the next one."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from tests.plugins.test_third_party import fake_package


def following(result: CompletedProcess[str]) -> list[list[str]]:
    """The arguments of each command of pgen in the last line, which says `Next:`."""
    last = result.stdout.rstrip().splitlines()[-1]
    assert last.startswith("Next: "), result.stdout
    found = [shlex.split(each) for each in re.split(", or ", last.removeprefix("Next: "))]
    return [words[1:] for words in found if words[0] == "pgen"]


@pytest.fixture
def pgen_wide(pgen):
    return lambda *arguments, **options: pgen(*arguments, env={**os.environ, "COLUMNS": "200"}, **options)


def test_pgen_alone_tells_the_first_steps(pgen_wide, tmp_path: Path) -> None:
    text = pgen_wide(cwd=tmp_path).stdout
    assert "pgen --help" in text and "pgen doctor" in text
    assert len(text.splitlines()) <= 12
    order = [text.index(part) for part in ("pgen data simulate", "pgen train ae", "pgen deploy", "pgen train flow", "pgen evaluate all")]
    assert order == sorted(order)


def test_pgen_alone_tells_what_to_do_with_the_newest_run(pgen_wide, pipeline: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline / "runs", tmp_path / "runs")
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/config.json").write_text("{")
    text = pgen_wide(cwd=tmp_path).stdout
    assert "Newest run: runs/ewm, model ewm" in text and "pgen sample runs/ewm" in text
    shutil.rmtree(tmp_path / "runs/ewm")
    assert "pgen train ewm --targets runs/ae/deploy/codes.pt" in pgen_wide(cwd=tmp_path).stdout
    os.utime(tmp_path / "runs/ae/model/weights.safetensors")  # as if it had been trained since
    assert "pgen deploy runs/ae --overwrite" in pgen_wide(cwd=tmp_path).stdout


def test_each_command_of_data_names_one_that_works(pgen, tmp_path: Path) -> None:
    name = "two words.h5"
    (split,) = following(pgen("data", "simulate", "-n", 24, "--size", 16, "--out", name, cwd=tmp_path))
    assert following(pgen("data", "info", name, cwd=tmp_path)) == [split]
    assert "Next:" not in pgen("data", "info", name, "--preview", "-", cwd=tmp_path).stdout
    (train,) = following(pgen(*split, cwd=tmp_path))
    pgen(*train, "--dry-run", cwd=tmp_path)
    assert "data/held_out.h5" in train
    for command, *more in (("convert",), ("merge",), ("export",)):
        (info,) = following(pgen("data", command, name, *more, "--out", f"{command}.h5", cwd=tmp_path))
        pgen(*info, cwd=tmp_path)
    (train,) = following(pgen("data", "crop", name, "--size", 8, "--out", "tiles.h5", cwd=tmp_path))
    pgen(*train, "--dry-run", cwd=tmp_path)


def test_large_images_are_to_be_cut(pgen, tmp_path: Path) -> None:
    images = np.zeros((3, 1, 8, 600), np.float32)
    images[:, :, :, ::7] = 20
    np.savez(tmp_path / "planes.npz", images=images)
    (crop,) = following(pgen("data", "split", "planes.npz", "--held-out", 1, "--out", "data", cwd=tmp_path))
    assert crop[:3] == ["data", "crop", "data/train.h5"]


def test_each_command_on_runs_names_one_that_works(pgen, pipeline: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline / "runs", tmp_path / "runs")

    def then(*arguments: object) -> list[list[str]]:
        return following(pgen(*arguments, cwd=tmp_path))

    (train,) = then("deploy", "runs/ae", "--overwrite")
    assert train[:2] == ["train", "ewm"]  # its codes are vectors
    pgen(*train, "--dry-run", cwd=tmp_path)
    (sample,) = then("deploy", "runs/ewm")
    pgen(*sample, cwd=tmp_path)
    evaluate, look = then("sample", "runs/ewm", "-n", 40, "--out", "new.h5")
    # Real images of the encoder, with its threshold; nobody held any out.
    assert evaluate[3:] == ["new.h5", "--train", "simulate:n=96,size=32,seed=3", "--held-out", "...", "--threshold", "10"]
    pgen(*look, cwd=tmp_path)
    real = ("--train", "simulate:n=96,size=32,seed=3", "--held-out", "simulate:n=60,size=32,seed=4", "--threshold", 10)
    assert then("evaluate", "wasserstein", "--generated", "runs/ewm", "-n", 40, *real) == [["deploy", "runs/ewm"]]
    (evaluate,) = then("evaluate", "hamming", "--generated", "new.h5", *real)
    assert evaluate == ["evaluate", "all", "--generated", "new.h5", *map(str, real)]
    (deploy,) = then("evaluate", "reconstruction", "runs/ae", "--held-out", "simulate:n=60,size=32,seed=4")
    pgen(*deploy, "--overwrite", cwd=tmp_path)
    assert then("evaluate", "losses", "runs/ae")[0] == ["train", "ewm", "--targets", "runs/ae/deploy/codes.pt"]  # it is deployed already
    (evaluate,) = then("evaluate", "cost", "runs/ewm")
    assert evaluate[:4] == ["evaluate", "all", "--generated", "runs/ewm"]


def test_doctor_tells_what_there_is(pgen, tmp_path: Path) -> None:
    text = pgen("doctor", cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}).stdout
    for part in (
        "pgen  ",
        "Python",
        f"torch {version('torch')}",
        "cores",
        "ae, ewm, flow, gan",
        "physics, profiles, fpd",
        "mnist, simulate",
        "linear, sqrt",
        "GiB",
    ):
        assert part in text, text
    assert str(tmp_path / "runs") in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 80
    found = json.loads(pgen("doctor", "--json", cwd=tmp_path).stdout)
    assert "ae" in found["Plug-ins"]["pgen.models"] and isinstance(found["missing"], list)


def test_doctor_names_what_is_broken(pgen, tmp_path: Path) -> None:
    fake_package(tmp_path, "badscale", "SCALE = 1\n", "pgen.scales")
    fake_package(tmp_path, "nomodel", "import missing_thing\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    missing = pgen("doctor", code=1, cwd=tmp_path, env=env).stdout.partition("Problems")[2]
    assert "'badscale'" in missing and "'nomodel'" in missing and "missing_thing" in missing


def test_an_optional_package_that_is_missing_is_no_fault(pgen, tmp_path: Path) -> None:
    (tmp_path / "tensorboard.py").write_text("raise ModuleNotFoundError('no', name='tensorboard')\n")
    text = pgen("doctor", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}).stdout
    assert "pip install 'pgen-lartpc[tensorboard]'" in text.partition("Problems")[2]


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("deploy",), ("RUN/deploy", "the training data")),
        (("data", "split"), ("hold out the last events",)),
        (("train",), ("Auto-encoder", "Generative adversarial")),
    ],
)
def test_help_tells_defaults_that_are_not_values_and_what_models_are(pgen_wide, command: tuple[str, ...], parts: tuple[str, ...]) -> None:
    text = pgen_wide(*command, "--help").stdout
    assert all(part in text for part in parts), text
