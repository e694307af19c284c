"""Several processes that train together, as a user launches them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

QUIET = {"OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def torchrun(ranks: int, *arguments: object, cwd: Path) -> list[subprocess.Popen[str]]:
    """``torchrun -m pgen ARGUMENTS``: one process, which starts the others."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--master-port={free_port()}", "-m", "pgen"]
    return [_start([*command, *map(str, arguments)], cwd, {})]


def srun(ranks: int, *arguments: object, cwd: Path, **variables: str) -> list[subprocess.Popen[str]]:
    """``srun pgen ARGUMENTS``: all processes, in the environment that SLURM would give them."""
    step = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(ranks), "SLURM_STEP_NODELIST": "localhost"}
    common = {**step, "SLURM_JOB_NAME": "train", "MASTER_PORT": str(free_port()), **variables}
    command = [sys.executable, "-m", "pgen", *map(str, arguments)]
    return [_start(command, cwd, {**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}) for rank in range(ranks)]


def ended(processes: list[subprocess.Popen[str]], seconds: float = 240) -> list[tuple[int, str]]:
    """Exit code and what was said, of each process."""
    said = [process.communicate(timeout=seconds)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def _start(command: list[str], cwd: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **QUIET, **variables}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=environment)
