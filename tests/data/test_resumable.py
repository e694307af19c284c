"""A conversion that was interrupted goes on, and writes what it would have written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pgen.data import ArrayImages, open_images, subset, write_images
from pgen.data.processing import resumable as resumable_module
from pgen.data.processing.resumable import Result, resumable

IMAGES = ArrayImages(np.random.default_rng(0).integers(0, 3, (50, 1, 4, 4)).astype(np.float32), labels={"k": np.arange(50)})


def convert(out: Path, task: dict, stop: int | None = None) -> list[int]:
    """Convert IMAGES ten at a time, interrupted at ``stop``; where the work began."""
    began = []

    def work(start: int) -> Iterator[Result]:
        began.append(start)
        for first in range(start, len(IMAGES), 10):
            if first == stop:
                raise KeyboardInterrupt
            # A share of which nothing comes.
            yield range(first, first + 10), [subset(IMAGES, range(first, first + 10))] if first != 20 else []

    with resumable(out, task, len(IMAGES)) as kept:
        write_images(out, (images for _, made in kept.run(work) for images in made))
    return began


def test_what_was_kept_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, folder = tmp_path / "x.h5", tmp_path / ".x.h5.pgen-parts"
    convert(tmp_path / "whole.h5", {})
    assert [path.name for path in tmp_path.iterdir()] == ["whole.h5"]  # a short task keeps nothing
    monkeypatch.setattr(resumable_module, "SAVE_SECONDS", 0.0)

    def interrupted(task: dict, stop: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            convert(out, task, stop)
        assert not out.exists() and folder.exists()

    interrupted({"a": 1}, 40)
    shutil.copytree(folder, tmp_path / "kept")
    assert convert(out, {"a": 1}) == [40] and not folder.exists()
    actual, expected = open_images(str(out)), open_images(str(tmp_path / "whole.h5"))
    assert actual.fingerprint == expected.fingerprint and actual.ids.tolist() == expected.ids.tolist()
    assert actual.labels["k"].tolist() == expected.labels["k"].tolist()

    out.unlink()
    shutil.copytree(tmp_path / "kept", folder)
    interrupted({"a": 2}, 10)  # another task forgets it
    assert convert(out, {"a": 2}) == [10]

    out.unlink()
    shutil.copytree(tmp_path / "kept", folder)
    broken = sorted(folder.glob("*.h5"))[1]
    broken.write_bytes(broken.read_bytes()[:1000])  # as after a loss of power
    assert convert(out, {"a": 1}) == [10] and open_images(str(out)).fingerprint == expected.fingerprint


def test_a_killed_command_goes_on(pgen, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from pgen.data.processing import resumable; resumable.SAVE_SECONDS = 0.5; from pgen.cli.app import main; main()",
    ]
    simulate = ["data", "simulate", "-n", "12800", "--size", "16", "--processes", "1", "--out", "x.h5"]
    process = subprocess.Popen([*command, *simulate], cwd=tmp_path, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list(tmp_path.glob(".x.h5.pgen-parts/*.h5"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = pgen(*simulate, cwd=tmp_path)
    assert "Resuming after" in resumed.stderr and [path.name for path in tmp_path.iterdir()] == ["x.h5"]
    pgen(*simulate[:-1], "y.h5", cwd=tmp_path)
    actual, expected = (open_images(str(tmp_path / name)) for name in ("x.h5", "y.h5"))
    assert actual.fingerprint == expected.fingerprint and actual.ids.tolist() == expected.ids.tolist()
