"""What a job may use is read from the limits of its cgroups and shell, not from its machine."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgen.errors import PgenError
from pgen.utils import resources
from pgen.utils.resources import cores, free_memory, is_out_of_memory

MIB = 2**20
MACHINE = {"proc/meminfo": "MemTotal: 9999999 kB\nMemAvailable: 4096000 kB\n"}
V1_MOUNTS = (
    "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
    "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
)
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Another machine's /proc and /sys."""
    for name, content in (MACHINE | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def v1(group: str, limit: int, used: int, cache: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory{group}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"cache 7\ninactive_file 1\ntotal_inactive_file {cache}\ntotal_active_file 0\n",
    }


def v2(group: str, limit: int | str, used: int, cache: int = 0, high: int | str = "max") -> dict[str, str]:
    folder = f"sys/fs/cgroup{group}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cache - cache // 4}\nactive_file {cache // 4}\n",
    }


def test_memory_of_the_machine_where_nothing_limits_it(tmp_path: Path) -> None:
    assert free_memory(tree(tmp_path, {})) == 4096000 * 1024
    unlimited = v1("", 9223372036854771712, 77) | v1("/job", 9223372036854771712, 7)
    files = {"proc/self/cgroup": "4:memory:/job\n", "proc/self/mountinfo": V1_MOUNTS}
    assert free_memory(tree(tmp_path, files | unlimited)) == 4096000 * 1024


def test_memory_of_cgroups_of_version_1(tmp_path: Path) -> None:
    """The tightest of all groups above the process counts; file cache can be taken back."""
    files = {"proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/slurm/job_7/step_0\n", "proc/self/mountinfo": V1_MOUNTS}
    files |= v1("/slurm/job_7/step_0", 9223372036854771712, 300 * MIB) | v1("/slurm", 9223372036854771712, 10**12)
    root = tree(tmp_path, files | v1("/slurm/job_7", 1500 * MIB, 900 * MIB, cache=400 * MIB))
    assert free_memory(root) == 1000 * MIB
    tree(root, v1("/slurm/job_7/step_0", 350 * MIB, 300 * MIB))
    assert free_memory(root) == 50 * MIB
    tree(root, v1("/slurm/job_7/step_0", 250 * MIB, 300 * MIB))
    assert free_memory(root) == 0


def test_memory_of_cgroups_of_version_2(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/user.slice/job.scope\n", "proc/self/mountinfo": V2_MOUNTS}
    root = tree(tmp_path, files | v2("/user.slice/job.scope", "max", 10 * MIB) | v2("/user.slice", 800 * MIB, 500 * MIB, 100 * MIB))
    assert free_memory(root) == 400 * MIB
    tree(root, v2("/user.slice/job.scope", "max", 10 * MIB, high=70 * MIB))
    assert free_memory(root) == 60 * MIB


@pytest.mark.parametrize(
    ("mounts", "group"),
    [
        (V2_MOUNTS, "/"),
        (V2_MOUNTS, "/../../elsewhere"),
        (V2_MOUNTS.replace(" / /sys", " /docker/a\\040b /sys"), "/docker/a b"),
        (V2_MOUNTS, "/docker/of/the/host"),
    ],
)
def test_memory_in_a_container(tmp_path: Path, mounts: str, group: str) -> None:
    """Its own group is the root of all that it sees, whatever it is called outside."""
    files = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": mounts}
    assert free_memory(tree(tmp_path, files | v2("", 640 * MIB, 40 * MIB))) == 600 * MIB


def test_memory_of_both_versions_at_once(tmp_path: Path) -> None:
    mounts = V1_MOUNTS + V2_MOUNTS.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = {"proc/self/cgroup": "4:memory:/a\n0::/b\n", "proc/self/mountinfo": mounts}
    assert free_memory(tree(tmp_path, files | v1("/a", 500 * MIB, MIB) | v2("/unified/b", 300 * MIB, MIB))) == 299 * MIB


def test_memory_of_ulimits() -> None:
    code = """
import resource, sys
limit = getattr(resource, sys.argv[1])
from pgen.utils.resources import free_memory
before = free_memory()
resource.setrlimit(limit, (600 * 2**20, resource.RLIM_INFINITY))
assert before > 2**30 and 400 * 2**20 < free_memory() < 600 * 2**20, free_memory()
"""
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        subprocess.run([sys.executable, "-c", code, name], check=True, timeout=60)


def test_cores(tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path, {}) == allowed
    assert cores(tmp_path, {"OMP_NUM_THREADS": "1"}) == cores(tmp_path, {"OMP_NUM_THREADS": " 1,4"}) == 1
    assert cores(tmp_path, {"OMP_NUM_THREADS": "99999"}) == cores(tmp_path, {"OMP_NUM_THREADS": "many"}) == allowed
    if allowed == os.cpu_count():
        assert cores(tmp_path, {"SLURM_CPUS_PER_TASK": "1"}) == 1
    files = {"proc/self/cgroup": "0::/job\n", "proc/self/mountinfo": V2_MOUNTS, "sys/fs/cgroup/cpu.max": "max 100000\n"}
    for quota, count in (("50000 100000", 1), ("100001 100000", 2), ("max 100000", allowed)):
        assert cores(tree(tmp_path / "v2", {**files, "sys/fs/cgroup/job/cpu.max": quota}), {}) == min(allowed, count)
    files = {"proc/self/cgroup": "2:cpu,cpuacct:/job/task\n", "proc/self/mountinfo": V1_MOUNTS}
    for quota, count in (("-1", allowed), ("40000", 1), ("150000", 2)):
        job = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": "100000"}
        files |= {f"sys/fs/cgroup/cpu,cpuacct/job/{name}": value for name, value in job.items()}
        assert cores(tree(tmp_path / "v1", files), {}) == min(allowed, count)


def test_cores_by_affinity() -> None:
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{first}]); from pgen.utils.resources import cores; assert cores(environment={{}}) == 1"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_open_files() -> None:
    code = """
import resource
from pgen.utils.resources import open_file_limit, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 96))
assert open_file_limit() == 64
raise_open_files()
assert open_file_limit() == 96
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_busy_machine(tmp_path: Path) -> None:
    number = os.cpu_count() or 1
    for load, busy in ((0.3, False), (number, False), (1.4 * number, False), (4.2 * number, True)):
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc/loadavg").write_text(f"{load:.2f} 0.00 0.00 1/99 4711\n")
        assert bool(resources.busy(tmp_path)) == busy
    assert resources.busy(tmp_path / "nothing") is None


THREADS = """
import json, os, subprocess, sys
from pgen.utils.resources import limit_threads
if sys.argv[2:]:
    __import__("numpy"), __import__("torch")
count = limit_threads(json.loads(sys.argv[1]))
import numpy, torch
from threadpoolctl import threadpool_info
pools = [pool["num_threads"] for pool in threadpool_info()]
waiting = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
print(json.dumps([count, torch.get_num_threads(), sorted(set(pools)), os.environ["OMP_NUM_THREADS"], waiting]))
"""


def limited(count: int | None, *late: str, **environment: str) -> list:
    names = [name for name in os.environ if not name.endswith("_NUM_THREADS") and name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")]
    env = {name: os.environ[name] for name in names} | {"MKL_DYNAMIC": "FALSE"} | environment
    done = subprocess.run([sys.executable, "-c", THREADS, json.dumps(count), *late], env=env, check=True, timeout=60, capture_output=True)
    return json.loads(done.stdout)


def test_threads_of_all_libraries() -> None:
    """Whether they are loaded already or not; by default as many as this job has cores; waiting ones sleep soon."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(resources.SPINS)}
    assert limited(1) == limited(1, "late") == limited(None, OMP_NUM_THREADS="1") == [1, 1, [1], "1", passive]
    count, of_torch, of_blas, *rest = limited(3)
    assert (count, of_torch, *rest) == (3, 3, "3", passive) and of_blas[-1] == 3  # OpenBLAS takes no more than there are cores
    active = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": None}
    assert limited(1, OMP_WAIT_POLICY="ACTIVE") == [1, 1, [1], "1", active]


def test_errors_that_mean_memory() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**48)
    assert is_out_of_memory(found.value) and resources.describe_shortage(found.value) == "1.05e+06 GiB more"
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        OSError("Can't read data (memory allocation failed for filter)"),
        RuntimeError("std::bad_alloc"),
        ImportError("libx.so: failed to map segment from shared object"),
    ):
        assert is_out_of_memory(error) and "\n" not in resources.describe_shortage(error)
    for other in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(errno.ENOENT, "none"), ValueError("a call of it")):
        assert not is_out_of_memory(other)


def test_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_memory", lambda: 3 * MIB)
    resources.require_memory(3 * MIB, "it", "no")
    with pytest.raises(PgenError, match=r"x\.h5 would take 0\.0195 GiB of memory, and this job has 0\.00293 GiB left; give fewer\."):
        resources.require_memory(20 * MIB, "x.h5", "give fewer")
