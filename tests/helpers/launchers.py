"""Launch several processes that train together, as users do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.helpers import warm

QUIET = {"OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def torchrun(ranks: int, *arguments: object, cwd: Path) -> list[subprocess.Popen[str]]:
    """Start ``torchrun -m pgen ARGUMENTS``: one process, which starts the others."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--master-port={free_port()}", "-m", "pgen"]
    return [_start([*command, *map(str, arguments)], cwd, {})]


class Forked:
    """A process of tests/helpers/warm.py with the interface of subprocess.Popen that is used here."""

    def __init__(self, process: BaseProcess, out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.process.join(timeout)
        if self.returncode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.out.read_text() + self.err.read_text(), ""


def srun(ranks: int, *arguments: object, cwd: Path, **variables: str) -> list[subprocess.Popen[str]]:
    """Start all processes of ``srun pgen ARGUMENTS``, in the environment that SLURM gives them."""
    command = [sys.executable, "-m", "pgen", *map(str, arguments)]
    return [_start(command, cwd, environment) for environment in _steps(ranks, variables)]


def forked(ranks: int, *arguments: object, cwd: Path) -> list[Forked]:
    """Start processes as :func:`srun` does, but forked, without the seconds that imports take."""
    processes = []
    for rank, environment in enumerate(_steps(ranks, {})):
        out, err = cwd / f"out-{rank}.txt", cwd / f"err-{rank}.txt"
        process = warm.start(list(map(str, arguments)), cwd, out, err, {**os.environ, **QUIET, **environment})
        processes.append(Forked(process, out, err))
    return processes


def _steps(ranks: int, variables: dict[str, str]) -> list[dict[str, str]]:
    """Return what SLURM adds to the environment of each process."""
    step = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(ranks), "SLURM_STEP_NODELIST": "localhost"}
    common = {**step, "SLURM_JOB_NAME": "train", "MASTER_PORT": str(free_port()), **variables}
    return [{**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(ranks)]


def wait_for_exit(processes: Sequence[subprocess.Popen[str] | Forked], seconds: float = 240) -> list[tuple[int, str]]:
    """Wait for all processes; return the exit code and output of each."""
    outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs, strict=True)]


def _start(command: list[str], cwd: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **QUIET, **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=environment)
