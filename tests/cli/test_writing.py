"""Commands that write: at once, onto their own inputs, through links, on a disk that fails, and when a signal ends them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pgen.data import ArrayImages, open_images, subset, write_images
from pgen.data.images import MAX_IMAGES, ImageSet
from pgen.data.io.write import append_images
from pgen.data.processing import resumable as resumable_module
from pgen.data.processing.resumable import Result, resumable
from pgen.errors import PgenError
from tests.conftest import run_pgen


def images(name: str, count: int, size: int = 12) -> ArrayImages:
    rng = np.random.default_rng(len(name) + count)
    charge = rng.integers(1, 50, (count, 1, size, size)) * (rng.random((count, 1, size, size)) < 0.3)
    ids = [f"{name}{number}" for number in range(count)]
    return ArrayImages(charge.astype(np.float32), name=name, ids=ids, events=ids)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_images(tmp_path / "store.h5", images("s", 70))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files, which like a quota or a failing disk is not foreseen by looking at the free space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_processes_that_append_at_once_lose_nothing(store: Path) -> None:
    folder, names = store.parent, "abc"
    for name in names:
        write_images(folder / f"{name}.h5", images(name, 90))
    with ThreadPoolExecutor() as threads:
        done = threads.map(lambda name: run_pgen("data", "merge", f"{name}.h5", "--append", "--out", "store.h5", cwd=folder), names)
        seen = {len(open_images(str(store))) for _ in range(10)}  # a reader meanwhile sees whole stores alone
    assert [(each.returncode, each.stderr) for each in done if each.returncode] == []
    found = open_images(str(store))
    assert len(found) == 340 and len(set(found.ids)) == 340 and seen <= {70, 160, 250, 340}
    assert sorted(path.name for path in folder.iterdir()) == ["a.h5", "b.h5", "c.h5", "store.h5"]


def test_a_store_that_changed_while_it_was_appended_to_stays(store: Path) -> None:
    def pieces() -> Iterator[ImageSet]:
        yield images("new", 5)
        write_images(store, images("another's", 8), overwrite=True)  # as without a lock

    with pytest.raises(PgenError, match="was changed by another process meanwhile"):
        append_images(store, pieces())
    assert len(open_images(str(store))) == 8 and [path.name for path in store.parent.iterdir()] == ["store.h5"]


def test_appending_follows_links_and_keeps_the_mode(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to("store.h5")
    store.chmod(0o604)
    append_images(tmp_path / "link.h5", images("more", 3))
    assert (tmp_path / "link.h5").is_symlink() and len(open_images(str(store))) == 73 and store.stat().st_mode & 0o777 == 0o604


def test_no_command_replaces_its_input(refuses, pgen, store: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.move(store, tmp_path / "data/held_out.h5")
    (tmp_path / "link.h5").symlink_to("data/held_out.h5")
    pgen("data", "convert", "link.h5", "--out", "pngs", cwd=tmp_path)
    source = (tmp_path / "data/held_out.h5").read_bytes()
    for arguments in (
        ("data", "split", "data/held_out.h5", "--out", "data"),
        ("data", "convert", "data/held_out.h5", "--out", "link.h5"),
        ("data", "convert", "data/h*.h5:limit=3", "--out", "data/held_out.h5"),
        ("data", "merge", "simulate:n=3,size=12", "link.h5", "--out", "data/held_out.h5"),
        ("data", "crop", "link.h5", "--size", 8, "--out", "data/held_out.h5"),
        ("data", "export", "data/held_out.h5", "--out", "link.h5"),
        ("data", "convert", "pngs", "--out", "pngs"),
        ("data", "info", "pngs", "--preview", "pngs/00000001.png"),
    ):
        refuses(*arguments, "--overwrite", saying="is an input", cwd=tmp_path)
    assert (tmp_path / "data/held_out.h5").read_bytes() == source and len(list((tmp_path / "pngs").iterdir())) == 71


def test_deploying_spares_what_it_reads(refuses, pgen, pipeline: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline / "runs", tmp_path / "runs")
    deploy = ("deploy", "runs/ae", "--overwrite")
    refuses(*deploy, "--data", "runs/ae/deploy/reconstructions.h5", saying="is an input", cwd=tmp_path)
    refuses("deploy", "runs/ewm", "--decoder", "runs/ae", "--out", "x", "--checkpoint", "7", saying="checkpoint", cwd=tmp_path)
    shutil.copy(tmp_path / "runs/ae/model/weights.safetensors", tmp_path / "runs/ae/model/decoder.safetensors")
    refuses(*deploy, "--out", "runs/ae/model", saying="is an input", cwd=tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "runs/ae/deploy").iterdir()}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="at the last moment"):
        from pgen.engine.inference import deploy as module
        from pgen.engine.run import Run
        from pgen.plugins.requests import DeployRequest

        patch.setattr(module, "plot_rows", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("at the last moment")))
        run = Run.open(tmp_path / "runs/ae")
        module.deploy(run, DeployRequest(out=tmp_path / "runs/ae/deploy", data="simulate:n=40,size=32", overwrite=True))
    assert {path: path.read_bytes() for path in (tmp_path / "runs/ae/deploy").iterdir()} == before


def test_a_failing_disk_is_one_sentence(tmp_path: Path) -> None:
    big = images("big", 1500)
    write_images(tmp_path / "store.h5", images("s", 20))
    before = (tmp_path / "store.h5").read_bytes()
    for limit in (0, 900, 7_000, 40_000, 60_000):
        with largest_file(limit):
            for name in ("x.h5", "x.npz", "x"):
                if name != "x" or limit < 100:
                    with pytest.raises(PgenError, match=r"cannot be written \(File too large\)"):
                        write_images(tmp_path / name, big)
            with pytest.raises(PgenError, match=r"cannot be written \(File too large\)"):
                write_images(tmp_path / "larcv.h5", big, format="larcv3")
            with pytest.raises(PgenError, match=r"store\.h5: cannot be written \(File too large\)"):
                append_images(tmp_path / "store.h5", big)
    assert [path.name for path in tmp_path.iterdir()] == ["store.h5"] and (tmp_path / "store.h5").read_bytes() == before


def test_a_command_on_a_failing_disk_ends_in_order(refuses, tmp_path: Path) -> None:
    write_images(tmp_path / "a.h5", images("a", 900))
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))}
    refuses("data", "convert", "a.h5", "--out", "made/b.h5", saying="made/b.h5: cannot be written (File too large)", cwd=tmp_path, **limit)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("cause", ["space", "error"])
def test_keeping_parts_never_fails_a_job(cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, lines = images("s", 60), list[str]()
    monkeypatch.setattr(resumable_module, "SAVE_SECONDS", 0.0)
    kept_at = []

    def work(start: int) -> Iterator[Result]:
        for first in range(start, 60, 10):
            kept_at.append(len(list(tmp_path.glob(".x.h5.pgen-parts/*.h5"))))
            if first == 30 and cause == "space":
                monkeypatch.setattr(resumable_module, "free_space", lambda path: 2000)  # others fill the disk
            if first == 30 and cause == "error":
                monkeypatch.setattr(resumable_module, "write_images", lambda *_, **__: (_ for _ in ()).throw(OSError("quota")))
            yield range(first, first + 10), [subset(source, range(first, first + 10))]

    with resumable(tmp_path / "x.h5", {}, 60, lines.append) as kept:
        write_images(tmp_path / "x.h5", (piece for _, made in kept.run(work) for piece in made))
    assert kept_at == [0, 1, 2, 3, 0, 0] and len(lines) == 1 and "nothing can be kept" in lines[0]
    assert len(open_images(str(tmp_path / "x.h5"))) == 60 and [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_parts_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_module, "SAVE_SECONDS", 0.0)
    parts = tmp_path / ".x.h5.pgen-parts"
    piece = images("s", 10)

    def convert() -> None:
        with resumable(tmp_path / "x.h5", {"second": True}, 10) as kept:
            write_images(tmp_path / "x.h5", (image for _, made in kept.run(lambda start: iter([(range(10), [piece])])) for image in made))

    (parts / "more").mkdir(parents=True)
    (parts / "thesis.txt").write_text("three years of work")
    convert()
    assert (parts / "thesis.txt").read_text() == "three years of work" and len(list(parts.iterdir())) == 2
    shutil.rmtree(parts)
    (tmp_path / "x.h5").unlink()
    with resumable(tmp_path / "x.h5", {"first": True}, 20) as first:  # a living process with another task
        shares = first.run(lambda start: iter([(range(10), [piece]), (range(10, 20), [piece])]))
        next(shares), next(shares)
        before = sorted(path.name for path in parts.iterdir())
        convert()
        assert sorted(path.name for path in parts.iterdir()) == before and len(before) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_numbers_that_no_disk_holds(refuses, tmp_path: Path) -> None:
    refuses("data", "simulate", "--out", "x.h5", "-n", MAX_IMAGES + 1, saying="too many", cwd=tmp_path)
    refuses("sample", "runs/none", "--out", "x.h5", "-n", 10**30, saying="too many", cwd=tmp_path)
    real = ("--train", "none.h5", "--held-out", "none.h5")
    refuses("evaluate", "physics", "--generated", "runs/none", *real, "-n", 10**30, saying="too many", cwd=tmp_path)
    refuses("data", "info", f"simulate:n={10**320}", saying="too many", cwd=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing(number: int, tmp_path: Path) -> None:
    write_images(tmp_path / "x.h5", images("old", 3))
    before = (tmp_path / "x.h5").read_bytes()
    simulate = ["data", "simulate", "-n", "90000", "--size", "32", "--processes", "1", "--out", "x.h5", "--overwrite"]
    process = subprocess.Popen([sys.executable, "-m", "pgen", *simulate], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list(tmp_path.glob(".x.h5.*.pgen-draft/new/x.h5")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (128 + number if number != signal.SIGINT else 130) and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"] and (tmp_path / "x.h5").read_bytes() == before


def test_signals_amid_writing_hdf5_end_in_order(store: Path, tmp_path: Path) -> None:
    script = """
        import signal, sys
        from pathlib import Path
        import numpy as np
        from pgen.data import ArrayImages, write_images
        from pgen.utils.hdf5_tables import _FailSafeFile

        write, calls = _FailSafeFile.write, 0

        def interrupted(stream, content):
            global calls
            calls += 1
            if calls == when:
                signal.raise_signal(signal.SIGTERM)
            return write(stream, content)

        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(9))
        _FailSafeFile.write = interrupted
        charge = np.random.default_rng(0).random((300, 1, 16, 16), dtype=np.float32)
        for when in (1, 2, 3, 5, 8, 13, 21):
            calls = 0
            try:
                write_images("x.h5", ArrayImages(charge))
                assert calls < when
            except SystemExit as end:
                assert end.code == 9 and calls >= when
            Path("x.h5").unlink(missing_ok=True)
        raise SystemExit(7)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, check=False)
    assert done.returncode == 7 and [path.name for path in tmp_path.iterdir()] == ["store.h5"]


def test_containers_where_every_process_has_the_same_number(pgen, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(PgenError, match="was written by another process"):

        def pieces() -> Iterator[ImageSet]:
            write_images(tmp_path / "pngs", images("first", 4))
            yield images("second", 6)

        write_images(tmp_path / "pngs", pieces())
    assert len(open_images(str(tmp_path / "pngs"))) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pngs", "store.h5"]
