"""Work shared out to processes changes nothing but the time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgen.data import open_images
from pgen.data.processes import ordered
from pgen.data.simulate import BLOCK, Settings, simulate_parts
from pgen.errors import UserError
from pgen.resources import cores


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
        found, wanted = (open_images(str(tmp_path / f"{name}.h5")) for name in (first, second))
        assert found.fingerprint == wanted.fingerprint and found.ids.tolist() == wanted.ids.tolist()
        assert found.labels["pdg"].tolist() == wanted.labels["pdg"].tolist()
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
    assert set(ordered(threads_here, [(1,), (2,)], 2)) == {(str(share), share)}


def test_a_process_that_dies_is_told_of() -> None:
    with pytest.raises(UserError, match="One of 2 processes died"):
        list(ordered(die, [(number,) for number in range(9)], 2))
