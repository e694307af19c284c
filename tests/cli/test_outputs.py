"""Nothing existing is lost, what cannot be written is told before the work, and no option is taken and ignored."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import IMAGES


@pytest.mark.parametrize(
    ("out", "saying"),
    [("file/x.h5", "file is a file"), ("x" * 300 + ".h5", "name"), ("dangling.h5", "exists already")],
    ids=["under", "long", "link"],
)
def test_outputs_that_cannot_be_written(refuses, tmp_path: Path, out: str, saying: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dangling.h5").symlink_to("nowhere")
    refuses("data", "simulate", "-n", 2, "--size", 16, "--out", out, saying=saying, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == "kept" and (tmp_path / "dangling.h5").is_symlink()


def test_files_where_folders_are_wanted(refuses, pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for arguments in (
        ("deploy", pipeline / "runs/ewm", "--out", "file"),
        ("evaluate", "losses", pipeline / "runs/ewm", "--out", "file/losses.png"),
        ("sample", pipeline / "runs/ewm", "-n", 2, "--out", "x.h5", "--grid", "file/grid.png"),
        ("sample", pipeline / "runs/ewm", "-n", 2, "--out", "x.h5", "--grid", "grid.pgf"),
        ("sample", pipeline / "runs/ewm", "-n", 2, "--out", "pngs", "--grid", "pngs/grid.png"),
    ):
        refuses(*arguments, saying=str(arguments[-1]).partition("/")[0], cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_what_is_there_already_stays(pgen, refuses, pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "losses.png").write_text("kept")
    refuses("evaluate", "losses", pipeline / "runs/ewm", "--out", "losses.png", saying="losses.png exists already", cwd=tmp_path)
    (tmp_path / "held_out.h5").write_text("kept")
    refuses("data", "split", IMAGES, "--out", ".", saying="held_out.h5 exists already", cwd=tmp_path)
    assert not (tmp_path / "train.h5").exists()
    pgen("data", "simulate", "-n", 3, "--size", 16, "--out", "pngs", cwd=tmp_path)
    (tmp_path / "pngs/notes.txt").write_text("kept")
    refuses("data", "simulate", "-n", 3, "--size", 16, "--out", "pngs", "--overwrite", saying="notes.txt", cwd=tmp_path)
    assert len(list((tmp_path / "pngs").iterdir())) == 5
    (tmp_path / "pngs/notes.txt").unlink()
    pgen("data", "simulate", "-n", 2, "--size", 16, "--out", "pngs", "--overwrite", cwd=tmp_path)
    assert len(list((tmp_path / "pngs").iterdir())) == 3


def test_options_without_effect_are_refused(pgen, refuses, pipeline: Path, tmp_path: Path) -> None:
    codes = pipeline / "runs/ae/deploy/codes.pt"
    for option in (("--threshold", 5), ("--scale", "log"), ("--clip", 9), ("--num-workers", 1), ("--drop-last",)):
        refuses("train", "ewm", "--targets", codes, *option, saying=f"{option[0]} ", cwd=tmp_path)
    refuses("train", "ewm", "--targets", IMAGES, "--num-workers", 1, saying="--num-workers 1: of no effect", cwd=tmp_path)
    refuses("deploy", pipeline / "runs/ewm", "--data-root", ".", "--out", "x", saying="--data-root", cwd=tmp_path)
    refuses("data", "split", IMAGES, "--held-out", 2.9, "--out", "x", saying="--held-out 2.9", cwd=tmp_path)
    pgen("deploy", pipeline / "runs/ewm", "--out", "x", cwd=tmp_path)
    refuses("sample", "x/generator.pt2", "--checkpoint", "last", "--out", "y.h5", saying="--checkpoint last", cwd=tmp_path)


def test_evaluating_the_reconstruction_of_codes_is_refused(refuses, pipeline: Path) -> None:
    refuses("evaluate", "reconstruction", "runs/ewm", "--held-out", IMAGES, saying="auto-encoder", cwd=pipeline)


def test_digits_of_other_scripts_are_no_numbers(refuses, pipeline: Path) -> None:
    refuses("sample", "runs/ewm", "--out", "x.h5", "--checkpoint", "²", saying="--checkpoint ²", cwd=pipeline)
    refuses("data", "crop", IMAGES, "--size", "²", "--out", "x.h5", saying="--size ²", cwd=pipeline)


def test_a_file_may_have_the_name_of_a_scheme(pgen, tmp_path: Path) -> None:
    done = pgen("data", "crop", "simulate:n=4,size=16", "--size", 8, "--min-occupancy", 0, "--out", "simulate", cwd=tmp_path)
    assert "16 images: simulate" in done.stdout


@pytest.mark.parametrize("encoder", [None, {"file": 5}])
def test_codes_of_a_strange_encoder(refuses, pipeline: Path, tmp_path: Path, encoder: object) -> None:
    content = torch.load(pipeline / "runs/ae/deploy/codes.pt", weights_only=True)
    torch.save(content | {"encoder": encoder}, tmp_path / "codes.pt")
    refuses("train", "ewm", "--targets", "codes.pt", saying="encoder", cwd=tmp_path)


def test_pngs_that_would_lose_bits(refuses, pgen, tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 900
    Image.fromarray(grey).save(tmp_path / "grey.png")
    whole = (tmp_path / "grey.png").read_bytes()
    (tmp_path / "rgb").mkdir()
    # What the header says is what is read, before any pixel.
    (tmp_path / "rgb/1.png").write_bytes(whole[:24] + bytes([16, 2]) + whole[26:])
    refuses("data", "info", "rgb", saying="16 bits for each of several channels, of which only 8 could be read", cwd=tmp_path)
    (tmp_path / "good").mkdir()
    shutil.move(tmp_path / "grey.png", tmp_path / "good/1.png")
    pgen("data", "info", "good", cwd=tmp_path)


def test_pngs_that_would_lose_the_charge(refuses, tmp_path: Path) -> None:
    np.save(tmp_path / "mev.npy", np.full((3, 8, 8), 0.2, np.float32))
    refuses("data", "convert", "mev.npy", "--out", "mev", saying="a PNG holds whole numbers, which would make 0 of a charge", cwd=tmp_path)
    assert not (tmp_path / "mev").exists()
    refuses("data", "split", "mev.npy", "--held-out", "inf", "--out", ".", saying="--held-out inf", cwd=tmp_path)


def test_generators_are_equal_byte_by_byte_and_tell_no_paths(pipeline: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        command = [sys.executable, "-m", "pgen", "deploy", pipeline / "runs/ewm", "--out", tmp_path / name]
        subprocess.run(command, check=True, capture_output=True)
    first, second = ((tmp_path / name / "generator.pt2").read_bytes() for name in ("a", "b"))
    assert first == second
    import pgen

    assert str(Path(pgen.__file__).parent).encode() not in first and b"pgen/engine" not in first
