"""The launcher of a process is read from its environment."""

from __future__ import annotations

import pytest

from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.distributed.launch import find_launch, first_host
from pgen.engine.runtime.device import choose_device
from pgen.errors import PgenError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu1", "MASTER_PORT": "29500"}
STEP = {"SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[07-09,12]", "SLURM_JOB_ID": "1234"}
SRUN = {**STEP, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "interactive"}  # as in an interactive allocation


def test_torchrun_takes_precedence_over_slurm() -> None:
    launch = find_launch({**SRUN, **TORCHRUN})
    assert launch and (launch.by, launch.rank, launch.ranks, launch.local, launch.address, launch.port) == (
        "torchrun",
        3,
        8,
        1,
        "gpu1",
        29500,
    )


def test_an_srun_step_gives_rank_address_and_port() -> None:
    launch = find_launch(SRUN)
    assert launch and (launch.by, launch.rank, launch.ranks, launch.local, launch.address) == ("srun", 3, 4, 1, "gpu07")
    others = [find_launch({**SRUN, "SLURM_PROCID": str(rank)}) for rank in range(4)]
    assert {other.port for other in others if other} == {launch.port} and 1024 < launch.port < 65536
    named = find_launch({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"})
    assert named and (named.address, named.port) == ("10.0.0.1", 5)
    other_step = find_launch({**SRUN, "SLURM_STEP_ID": "3"})
    assert other_step and other_step.port != launch.port


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"},  # a shell of salloc
        {**SRUN, "SLURM_STEP_ID": "4294967291"},  # the batch script itself
        {**SRUN, "SLURM_STEP_ID": "4294967290"},  # salloc's interactive step
        {**SRUN, "SLURM_PTY_PORT": "4000"},  # srun --pty bash
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"RANK": "0", "HOME": "/"},  # only RANK may mean anything
    ],
)
def test_other_environments_are_no_launch(environment: dict[str, str]) -> None:
    assert find_launch(environment) is None


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        ({name: value for name, value in TORCHRUN.items() if name != "MASTER_ADDR"}, "MASTER_ADDR"),
        ({**TORCHRUN, "WORLD_SIZE": "many"}, "WORLD_SIZE='many'"),
        ({**TORCHRUN, "RANK": "8"}, "rank 8 of 8"),
        ({**SRUN, "SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST"),
    ],
)
def test_an_incomplete_launch_is_refused_with_a_hint(environment: dict[str, str], cause: str) -> None:
    with pytest.raises(PgenError, match=r"Launch with .torchrun .* or .srun") as error:
        find_launch(environment)
    assert cause in str(error.value)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[003-007,9],login1", "gpu003"),
        ("r[1,3]n[2-4],x", "r1n2"),
        ("n[5]-ib,x", "n5-ib"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("gpus", "local", "device", "expected"),
    [(4, 2, "auto", "cuda:2"), (4, 2, "cuda", "cuda:2"), (1, 3, "auto", "cuda:0"), (0, 1, "auto", "cpu"), (4, 2, "cpu", "cpu")],
)
def test_each_rank_takes_the_gpu_of_its_local_rank(
    gpus: int, local: int, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert str(choose_device(device, None, group_of(local))) == expected


def test_ranks_without_a_gpu_of_their_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(PgenError, match="2 GPUs and more ranks than that"):
        choose_device("auto", None, group_of(2))
    for device, gpu in (("cuda:1", None), ("auto", 1)):
        with pytest.raises(PgenError, match="cannot share one GPU"):
            choose_device(device, gpu, group_of(1))


def group_of(local: int) -> ProcessGroup:
    group = ProcessGroup()
    group.local, group.count = local, 8
    return group
