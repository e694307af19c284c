"""`pgen train` beyond one model's options: config files, precision, generators, MNIST, completion."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import IMAGES

TINY = ("--n-hidden", 16, "--sample-size", 4)


def test_config_file_stands_between_defaults_and_command_line(pgen, refuses, tmp_path: Path) -> None:
    (tmp_path / "gan.toml").write_text('n-hidden = 24\nz_dim = 9\ndata = "simulate:n=4,size=16"\n')
    text = pgen("train", "gan", "--config", "gan.toml", "--z-dim", 5, "--dry-run", cwd=tmp_path).stdout
    found = json.loads(text)
    assert (found["config"]["n_hidden"], found["config"]["z_dim"], found["config"]["n_layers"]) == (24, 5, 3)
    assert found["settings"]["data"] == "simulate:n=4,size=16"
    (tmp_path / "bad.toml").write_text("n_hiden = 24\nz_dim = -1\n")
    for part in ("--n-hiden", "--z-dim -1"):
        refuses("train", "gan", "--config", "bad.toml", saying=part, cwd=tmp_path)


def test_config_of_a_run_repeats_it(pgen, tmp_path: Path) -> None:
    pgen("train", "gan", "--data", IMAGES, *TINY, "--max-steps", 2, "--name", "first", cwd=tmp_path)
    pgen("train", "gan", "--config", "runs/first/config.json", "--name", "second", cwd=tmp_path)
    weights = [(tmp_path / f"runs/{name}/model/weights.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


def test_bf16(pgen, tmp_path: Path) -> None:
    for model, source in (("gan", "--data"), ("ewm", "--targets")):
        steps = ("--max-steps", 8, *(("--ots-steps", 4) if model == "ewm" else ()))
        losses = {}
        for precision in ("fp32", "bf16"):
            pgen("train", model, source, IMAGES, *TINY, *steps, "--precision", precision, "--name", model + precision, cwd=tmp_path)
            lines = (tmp_path / f"runs/{model}{precision}/metrics.jsonl").read_text().splitlines()
            losses[precision] = json.loads(lines[-1])
        name = "g_loss" if model == "gan" else "wasserstein"
        assert losses["bf16"][name] != losses["fp32"][name]
        np.testing.assert_allclose(losses["bf16"][name], losses["fp32"][name], rtol=0.1)


def test_one_target_and_one_sample(pgen, tmp_path: Path) -> None:
    tiny = ("--batch-size", 1, "--ots-steps", 3, "--num-epochs", 2, "--n-hidden", 8, "--name", "x")
    pgen("train", "ewm", "--targets", "simulate:n=1,size=16", *tiny, cwd=tmp_path)


def test_a_last_batch_of_one_image(pgen, tmp_path: Path) -> None:
    images = "simulate:n=17,size=16,seed=3"
    for model, options in (("gan", ("--n-hidden", 8)), ("ae", ("--n-layers", 2, "--depth", 4))):
        pgen("train", model, "--data", images, *options, "--batch-size", 16, "--num-epochs", 2, "--name", model, cwd=tmp_path)


def test_convolutional_ewm_on_images(pgen, refuses, pipeline: Path, tmp_path: Path) -> None:
    conv = ("--arch", "conv", "--n-layers", 2, "--n-hidden", 8, "--ots-steps", 6, "--batch-size", 16, "--num-epochs", 1, "--name", "x")
    pgen("train", "ewm", "--targets", IMAGES, *conv, cwd=tmp_path)
    pgen("sample", "runs/x", "-n", 3, "--out", "x.npz", "--grid", "x.png", cwd=tmp_path)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["images"].shape == (3, 1, 32, 32)
    refuses("train", "ewm", "--targets", pipeline / "runs/ae/deploy/codes.pt", *conv, saying="--arch conv", cwd=tmp_path / "runs")
    assert not (tmp_path / "runs/runs").exists()


def test_mnist_folder(pgen, tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for name, array in (("train-images-idx3", digits), ("train-labels-idx1", np.arange(20, dtype=np.uint8))):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    source = f"mnist:root={tmp_path},limit=12"
    assert "28" in pgen("data", "info", source).stdout
    pgen("train", "ae", "--data", source, "--n-layers", 2, "--depth", 4, "--max-steps", 2, "--name", "x", cwd=tmp_path)
    assert json.loads((tmp_path / "runs/x/config.json").read_text())["data"]["count"] == 12


def test_completion_knows_commands_and_models(pgen) -> None:
    for typed, wanted in (("pgen tr", "train"), ("pgen train e", "ewm"), ("pgen evaluate h", "hamming")):
        env = {**os.environ, "_PGEN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        assert wanted in complete(env)


def complete(env: dict[str, str]) -> str:
    """What the shell gets, from the installed script, whose name the completion variable carries."""
    return subprocess.run([Path(sys.executable).parent / "pgen"], capture_output=True, text=True, env=env, check=False).stdout
