"""Ten kills of commands that write: nothing is half there, lost or left over. See benchmarks/output_kills.py for more than a hundred."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers.output_kills import COMMANDS, Victim, make_inputs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    make_inputs(folder, 400, [])
    return folder


@pytest.mark.parametrize("name", ["convert", "convert to PNG", "merge --append", "split", "export"])
def test_killed_at_random_moments(name: str, root: Path) -> None:
    command = next(command for command in COMMANDS if command.name == name)
    kills = Victim(command, True, root, random.Random(len(name))).kills()
    for _ in range(2):
        next(kills)
