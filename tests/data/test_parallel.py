"""Work shared out to processes changes nothing but the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pgen.data import open_images
from pgen.data.processing.parallel import parallel_map
from pgen.data.simulation.generate import BLOCK, Settings, simulate_parts
from pgen.errors import PgenError
from pgen.utils.resources import cores


def test_simulated_images_are_the_same() -> None:
    one, two = (list(simulate_parts(BLOCK * 3 + 5, Settings((16, 16)), processes=n)) for n in (1, 2))
    assert [part.fingerprint for part in one] == [part.fingerprint for part in two]
    assert [part.ids.tolist() for part in one] == [part.ids.tolist() for part in two]
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_commands_write_the_same(pgen, refuses, tmp_path: Path) -> None:
    # Nine parts of 32 MiB.
    pgen("data", "simulate", "-n", 70, "--size", 1024, "--processes", 2, "--out", "a.h5", cwd=tmp_path)
    for name, processes in (("one", 1), ("two", 2)):
        pgen("data", "convert", "a.h5:limit=40", "a.h5:entries=40-70", "--out", f"{name}.h5", "--processes", processes, cwd=tmp_path)
        pgen(
            "data", "crop", "a.h5", "--size", 128, "--min-occupancy", 0.001, "--processes", processes, "--out", f"c{name}.h5", cwd=tmp_path
        )
    for first, second in (("one", "two"), ("cone", "ctwo")):
        actual, expected = (open_images(str(tmp_path / f"{name}.h5")) for name in (first, second))
        assert actual.fingerprint == expected.fingerprint and actual.ids.tolist() == expected.ids.tolist()
        assert actual.labels["pdg"].tolist() == expected.labels["pdg"].tolist()
    broken = bytearray((tmp_path / "a.h5").read_bytes())
    broken[len(broken) // 2] ^= 1
    (tmp_path / "b.h5").write_bytes(broken)
    refuses("data", "convert", "b.h5", "--out", "x.h5", "--processes", 2, saying="damaged", cwd=tmp_path)
    assert not list(tmp_path.glob("*x.h5"))


def die(number: int) -> int:
    if number == 5:
        os._exit(1)
    return number


def threads_here(number: int) -> tuple[str, int]:
    import torch

    return os.environ["OMP_NUM_THREADS"], torch.get_num_threads()


def test_processes_share_the_cores() -> None:
    share = max(1, cores() // 2)
    assert set(parallel_map(threads_here, [(1,), (2,)], 2)) == {(str(share), share)}


def test_a_process_that_dies_is_told_of() -> None:
    with pytest.raises(PgenError, match="One of 2 processes died"):
        list(parallel_map(die, [(number,) for number in range(9)], 2))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that it started, and that work for it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


LONG = ("data", "simulate", "-n", "1000000", "--size", "32", "--processes", "2", "--out", "x.h5")
LOADED = ("train", "gan", "--data", "x.npy", "--n-hidden", "4", "--num-workers", "2", "--num-epochs", "1000000", "--name", "x")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
@pytest.mark.parametrize(("command", "number"), [(LONG, signal.SIGTERM), (LONG, signal.SIGKILL), (LOADED, signal.SIGKILL)])
def test_workers_end_with_the_process_that_began_them(command: tuple[str, ...], number: int, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((60, 8, 8), dtype=np.float32))
    process = subprocess.Popen([sys.executable, "-m", "pgen", *command], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(workers_of(process)) == 2)
        workers = workers_of(process)
        if command is LONG:
            # Not only begun, but at work.
            wait_until(lambda: list(tmp_path.glob(".x.h5.*/new/x.h5")))
        process.send_signal(number)
        assert process.wait(30) == (128 + number if number == signal.SIGTERM else -number)
        wait_until(lambda: not any(map(is_alive, workers)), 30)
    finally:
        process.kill()
    if number == signal.SIGTERM:
        assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_a_worker_whose_parent_is_gone_already_ends() -> None:
    code = (
        "import os, time; from pgen.data.processing.parallel import exit_with_parent; "
        "exit_with_parent(1 if os.getppid() != 1 else 2); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 1


def slowly(number: int) -> int:
    time.sleep(0 if number < 2 else 60)
    return number


def test_nobody_waits_for_work_that_is_not_wanted_any_more() -> None:
    before = set(multiprocessing.active_children())
    results = parallel_map(slowly, [(number,) for number in range(6)], 2)
    assert next(results) == 0
    results.close()
    wait_until(lambda: not any(process.is_alive() for process in set(multiprocessing.active_children()) - before), 30)
