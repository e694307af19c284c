"""Find out who launched this process: torchrun, srun, or nobody. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgen.errors import ConfigError

HINT = "Launch with `torchrun --nproc-per-node N -m pgen train ...` or `srun --ntasks N pgen train ...`"
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
#: From here on SLURM numbers the steps that are no launch of srun: the batch script, an interactive
#: shell.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0


@dataclass(frozen=True)
class Launch:
    """How this process was launched.

    Attributes:
        rank: Its number, from 0.
        ranks: Number of processes.
        local: Its number on this host.
        address: Host of rank 0, which listens at ``port``.
        port: Port of rank 0.
        by: "torchrun" or "srun".
    """

    rank: int
    ranks: int
    local: int
    address: str
    port: int
    by: str


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return how torchrun, or else srun, launched this process; None for a single process.

    Raises:
        ConfigError: The environment variables make no sense.
    """
    launch = _by_torchrun(environment) or _by_srun(environment)
    if launch is None:
        return None
    if not 0 <= launch.rank < launch.ranks:
        raise ConfigError(f"{launch.by} says that this is rank {launch.rank} of {launch.ranks}, wanted 0 to {launch.ranks - 1}. {HINT}.")
    return launch if launch.ranks > 1 else None


def _by_torchrun(environment: Mapping[str, str]) -> Launch | None:
    # A container or a shell may set some of them; these two together are a launch.
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    if missing := [name for name in _TORCHRUN if name not in environment]:
        raise ConfigError(f"RANK and WORLD_SIZE are set, but {', '.join(missing)} not. {HINT}, or unset them to train alone.")
    rank, ranks, local, port = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))
    return Launch(rank, ranks, local, environment["MASTER_ADDR"], port, "torchrun")


def _by_srun(environment: Mapping[str, str]) -> Launch | None:
    if not {"SLURM_PROCID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"} <= environment.keys():
        return None  # sbatch and salloc set the job's number of tasks, but launch none
    step = _number(environment, "SLURM_STEP_ID")
    # In a shell that srun opened (--pty) commands are run by hand, one at a time.
    if step >= _FIRST_SPECIAL_STEP or "SLURM_PTY_PORT" in environment:
        return None
    rank, ranks, local = (_number(environment, name) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or first_host(nodes)
    if not address:
        raise ConfigError(f"srun launched rank {rank}, but neither SLURM_STEP_NODELIST nor MASTER_ADDR names a host. {HINT}.")
    if "MASTER_PORT" in environment:
        port = _number(environment, "MASTER_PORT")
    else:
        # All ranks of a step find the same, two steps on one host hardly ever do, and the system
        # gives such ports to nobody.
        port = 20_000 + (31 * _number(environment, "SLURM_JOB_ID") + step) % 12_000
    return Launch(rank, ranks, local, address, port, "srun")


def first_host(nodes: str) -> str:
    """Return the first host of a SLURM node list, as ``gpu[003-007,9],login1``."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes.strip())
    assert match is not None  # it may be empty
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", match[0])


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not re.fullmatch("[0-9]+", value):
        raise ConfigError(f"{name}={value!r} in the environment, wanted a whole number. {HINT}.")
    return int(value)
