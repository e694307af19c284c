"""The main job through the command line, on small images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from pgen.data import open_images, read_all
from pgen.utils.drafts import DRAFT


def test_deploy_writes_codes_with_all_that_ewm_needs(pipeline: Path) -> None:
    codes = torch.load(pipeline / "runs/ae/deploy/codes.pt", weights_only=True)
    assert codes["codes"].shape == (96, 8) and len(codes["ids"]) == 96
    assert codes["encoder"]["weights"] and codes["source"]["fingerprint"]
    torch.testing.assert_close(codes["mean"], codes["codes"].mean(0))
    rebuilt = open_images(str(pipeline / "runs/ae/deploy/reconstructions.h5"))
    assert (len(rebuilt), *rebuilt.shape) == (96, 1, 32, 32)
    assert rebuilt.labels["mse"].shape == (96,)


def test_run_folder_holds_what_the_docs_say(pipeline: Path) -> None:
    run = pipeline / "runs/ewm"
    for name in (
        "config.json",
        "log.txt",
        "metrics.jsonl",
        "losses.png",
        "hits_per_target.png",
        "model/weights.safetensors",
        "model/decoder.safetensors",
    ):
        assert (run / name).is_file(), name
    assert list((run / "samples").glob("step-*.png")) and list((run / "checkpoints").glob("step-*.pt"))
    assert not list(run.rglob(f"*{DRAFT}"))


def test_samples_are_images_in_charge_units_and_repeat(pipeline: Path, pgen, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        pgen("sample", "runs/ewm", "-n", 70, "--seed", 5, "--batch-size", 32, "--out", tmp_path / name, "--overwrite", cwd=pipeline)
    images, again = (read_all(open_images(str(tmp_path / name))) for name in ("a.h5", "b.h5"))
    np.testing.assert_array_equal(images, again)
    assert images.shape == (70, 1, 32, 32)
    lit = images[images > 0]
    assert len(lit) and lit.min() > 10 and lit.max() < 4000


def test_exported_generator_runs_without_pgen(pipeline: Path, pgen, tmp_path: Path) -> None:
    pgen("deploy", "runs/ewm", "--out", tmp_path, cwd=pipeline)
    code = f"""
import sys, torch
images = torch.export.load({str(tmp_path / "generator.pt2")!r}).module()(torch.randn(5, 4))
assert images.shape == (5, 1, 32, 32) and images.min() >= 0, images.shape
assert not any(name.partition(".")[0] == "pgen" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    pgen("sample", tmp_path / "generator.pt2", "-n", 3, "--out", tmp_path / "x.npz", "--grid", tmp_path / "x.png")
    assert np.load(tmp_path / "x.npz")["images"].shape == (3, 1, 32, 32)


def test_exported_generator_holds_what_it_uses_and_runs_on_any_device(pipeline: Path, pgen, tmp_path: Path) -> None:
    pgen("deploy", "runs/ewm", "--out", tmp_path, cwd=pipeline)
    program = torch.export.load(tmp_path / "generator.pt2")
    assert not [name for name in program.state_dict if "psi" in name or "pair" in name or "encoder" in name]
    assert "generator.generator.0.0.weight" in program.state_dict
    for node in program.graph.nodes:
        assert "device" not in node.kwargs and "assert" not in str(node.target), node.format_node()
    assert move_to_device_pass(program, "meta").module()(torch.randn(5, 4, device="meta")).shape == (5, 1, 32, 32)


def test_decoder_is_found_beside_the_codes_however_they_are_named(pipeline: Path, pgen, tmp_path: Path) -> None:
    tiny = ("--num-epochs", 1, "--ots-steps", 3, "--n-hidden", 8, "--sample-size", 0)
    pgen("train", "ewm", "--data", pipeline / "runs/ae/deploy/codes.pt", *tiny, "--name", "a", cwd=tmp_path)
    pgen("train", "ewm", "--targets", "codes.pt", "--data-root", pipeline / "runs/ae/deploy", *tiny, "--name", "b", cwd=tmp_path)
    for name in "ab":
        pgen("sample", f"runs/{name}", "-n", 2, "--out", f"{name}.h5", cwd=tmp_path)


def test_blank_images_are_no_accident(pipeline: Path, pgen, tmp_path: Path) -> None:
    np.save(tmp_path / "blank.npy", np.zeros((5, 32, 32), np.float32))
    blank = tmp_path / "blank.npy"
    pgen("deploy", "runs/ae", "--data", blank, "--out", tmp_path / "codes", cwd=pipeline)
    pgen("evaluate", "reconstruction", "runs/ae", "--held-out", blank, "--out", tmp_path / "evaluation", cwd=pipeline)


def test_evaluations(pipeline: Path, pgen, tmp_path: Path) -> None:
    pgen("sample", "runs/ewm", "-n", 40, "--out", tmp_path / "s.h5", cwd=pipeline)
    real, held_out = "simulate:n=96,size=32,seed=3", "simulate:n=60,size=32,seed=4"
    out = tmp_path / "evaluation"
    text = pgen(
        "evaluate",
        "hamming",
        "--generated",
        tmp_path / "s.h5",
        "--train",
        real,
        "--held-out",
        held_out,
        "--threshold",
        10,
        "--threshold",
        30,
        "--out",
        out,
    ).stdout
    assert "copy rate" in text and "blank images" in text
    assert len(json.loads((out / "hamming.json").read_text())["thresholds"]) == 2
    # Into the folder of another evaluation, beside which it lies then.
    pgen("evaluate", "reconstruction", "runs/ae", "--held-out", held_out, "--out", out, "--overwrite", cwd=pipeline)
    choice = json.loads((out / "reconstruction.json").read_text())
    assert len(choice["checkpoints"]) == 3 and choice["choice"]["step"] in (60, 120, 180)
    pgen("evaluate", "losses", "runs/ae", "runs/ewm", "--out", out / "losses.png", cwd=pipeline)
    assert {path.name for path in out.iterdir()} >= {"hamming.png", "pairs.png", "reconstruction.png", "losses.png"}


def test_data_commands(pgen, tmp_path: Path) -> None:
    pgen("data", "simulate", "-n", 10, "--size", 64, "--out", tmp_path / "a.h5")
    pgen("data", "crop", tmp_path / "a.h5", "--size", 32, "--threshold", 10, "--min-occupancy", 0.005, "--out", tmp_path / "b.h5")
    pgen("data", "split", tmp_path / "b.h5", "--held-out", 3, "--out", tmp_path / "c")
    with h5py.File(tmp_path / "c/train.h5") as train, h5py.File(tmp_path / "c/held_out.h5") as held_out:
        assert not set(train["events"][:]) & set(held_out["events"][:])
    assert "occupancy" in pgen("data", "info", tmp_path / "b.h5").stdout


def test_convert_and_merge(pgen, refuses, tmp_path: Path) -> None:
    for name, n in (("a.h5", 10), ("b.h5", 4)):
        pgen("data", "simulate", "-n", n, "--size", 32, "--seed", n, "--out", tmp_path / name)
    pgen("data", "convert", "a.h5", "--out", "png", cwd=tmp_path)
    pgen("data", "convert", "png", "--out", "c.npz", cwd=tmp_path)
    whole, again = (open_images(str(tmp_path / name)) for name in ("a.h5", "c.npz"))
    assert np.array_equal(np.rint(read_all(whole)), read_all(again)) and whole.ids.tolist() == again.ids.tolist()
    refuses("data", "convert", "a.h5", "./a.h5", "--out", "d.h5", saying="share no image", cwd=tmp_path)
    done = pgen("data", "convert", "a.h5:entries=4-10", "b.h5", "--out", "d.h5", cwd=tmp_path)
    assert "10 images" in done.stdout
    parts = [read_all(open_images(str(tmp_path / name))) for name in ("a.h5:entries=4-10", "b.h5")]
    assert np.array_equal(read_all(open_images(str(tmp_path / "d.h5"))), np.concatenate(parts))
    pgen("data", "merge", "a.h5:entries=4-10", "b.h5", "--out", "m.h5", cwd=tmp_path)
    assert open_images(str(tmp_path / "m.h5")).fingerprint == open_images(str(tmp_path / "d.h5")).fingerprint
    refuses("data", "merge", "b.h5", "--append", "--out", "m.h5", saying="already", cwd=tmp_path)
    refuses("data", "merge", "b.h5", "--append", "--overwrite", "--out", "m.h5", saying="contradict", cwd=tmp_path)
    pgen("data", "convert", "a.h5:entries=4-10", "--out", "n.h5", cwd=tmp_path)
    pgen("data", "merge", "b.h5", "--append", "--out", "n.h5", cwd=tmp_path)
    assert open_images(str(tmp_path / "n.h5")).fingerprint == open_images(str(tmp_path / "m.h5")).fingerprint
    pgen("data", "export", "m.h5", "--out", "l.h5", cwd=tmp_path)
    pgen("data", "export", "m.h5", "--out", "l.npz", cwd=tmp_path)
    assert open_images(str(tmp_path / "l.h5")).about["format"] == "LArCV3 HDF5"  # type: ignore[attr-defined]
    with np.load(tmp_path / "l.npz") as archive:
        assert np.array_equal(archive["images"], np.concatenate(parts))
    pgen("data", "split", "[ab].h5", "--by", "file", "--held-out", 1, "--out", "s", cwd=tmp_path)
    train, held_out = (open_images(str(tmp_path / f"s/{name}.h5")).labels["file"] for name in ("train", "held_out"))
    assert set(train) == {"a"} and set(held_out) == {"b"} and len(train) == 10
    refuses("data", "split", "a.h5", "--by", "day", "--out", "t", saying="expected one of event, momentum, pdg", cwd=tmp_path)
    pgen("data", "crop", "a.h5", "--size", 16, "--min-occupancy", 0, "--out", "e.h5", cwd=tmp_path)
    refuses("data", "convert", "a.h5", "e.h5", "--out", "f.h5", saying="differs from", cwd=tmp_path)
    assert not (tmp_path / "f.h5").exists()


def test_models_lists_the_built_ins(pgen) -> None:
    text = pgen("models").stdout
    assert all(name in text for name in ("gan", "ae", "ewm"))
