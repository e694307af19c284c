"""Memory, cores and open files that this job may use, and the number of threads of its libraries.

A job often may use less than the machine has: schedulers and containers set limits by control
groups (cgroups), shells by ``ulimit``. Functions with a parameter ``root`` read ``proc`` and
``sys`` below it, so that tests can simulate other machines. This module does not import torch.

References:
    https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import errno
import math
import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pgen.errors import DeviceError

ROOT = Path("/")
#: Spins of a waiting GNU OpenMP thread before it sleeps: 20 to 100 µs. The default is some 10 ms,
#: and on a busy machine the spinning thread then blocks the core that the others need, which makes
#: pgen ten times slower. Without any spinning, pgen is 10 % slower on an idle machine.
SPINS = 2000
#: Environment variables that libraries read when they are imported.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class _Group(NamedTuple):
    """Folder of a cgroup, and its version (1 or 2)."""

    folder: Path
    version: int


def free_memory(root: Path = ROOT) -> int:
    """Compute how much memory this process can still allocate.

    Returns:
        Bytes: the minimum of the machine's available memory, what the limits of the cgroups leave
        (file cache counts as free), and what RLIMIT_AS and RLIMIT_DATA leave.
    """
    return max(0, min([_available(root), *_left_by_cgroups(root), *_left_by_ulimits(root)]))


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Check that ``needed`` bytes of memory are free, before the system kills the process.

    Args:
        needed: Bytes.
        what: What needs them: the subject of the message.
        remedy: What the user can do.

    Raises:
        DeviceError: There is less free memory.
    """
    if needed > (free := free_memory()):
        raise DeviceError(f"{what} would take {_gib(needed)} of memory, and this job has {_gib(free)} left; {remedy}.")


def cores(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Compute how many threads this job can run at the same time.

    Returns:
        The minimum, but at least 1, of the cores in this process's affinity mask, its cgroups'
        quotas (rounded up) and OMP_NUM_THREADS. If the mask has all cores of the machine,
        SLURM_CPUS_PER_TASK counts too.
    """
    machine = os.cpu_count() or 1
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    limits = [count, *_cpu_quotas(root)]
    names = ["OMP_NUM_THREADS", *(["SLURM_CPUS_PER_TASK"] if count == machine else [])]
    for name in names:
        # OpenMP allows one number per nesting level, as in 4,2.
        if match := re.match(r"\s*([1-9]\d*)\s*(,|$)", environment.get(name, "")):
            limits.append(int(match[1]))
    return max(1, min(limits))


def open_file_limit() -> int:
    """Return how many files this process may have open at once."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if limit == resource.RLIM_INFINITY else limit


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit.

    The usual soft limit of 1024 is for programs that use select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS has no hard limit, and rejects that as the soft limit.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def busy(root: Path = ROOT) -> float | None:
    """Return the load average of the last minute if it clearly exceeds the cores, else None."""
    try:
        load = float((root / "proc/loadavg").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return load if load > 1.5 * (os.cpu_count() or 1) + 1 else None


def limit_threads(count: int | None = None) -> int:
    """Set the number of threads of numerical libraries in this process and in those it starts.

    Call this before the libraries are imported: OpenMP then also reads how its threads wait.

    Args:
        count: Number of threads; by default :func:`cores`.

    Returns:
        The number of threads.
    """
    names = [name for name in _THREADS if count is not None or name == "OMP_NUM_THREADS" or name not in os.environ]
    count = cores() if count is None else count
    os.environ.update(dict.fromkeys(names, str(count)))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # for OpenMP libraries other than GNU's
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    if any(name in sys.modules for name in ("numpy", "scipy", "torch", "sklearn")):
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
        with suppress(RuntimeError):  # can be set only once, before the first such thread
            torch.set_num_interop_threads(count)
    return count


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, NumPy, torch, HDF5 or OpenMP means out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ValueError | OSError | ImportError) and bool(_SHORT_OF_MEMORY.search(str(error)))


def describe_shortage(error: BaseException) -> str:
    """Describe an out-of-memory error by the size of the allocation, or else by its first line."""
    text = str(error)
    if match := re.search(r"tried to allocate (\d+) bytes", text):
        return f"{_gib(int(match[1]))} more"
    if match := re.search(r"(?:Tried to|Unable to) allocate ([\d.]+ [KMGT]?i?B)", text):
        return f"{match[1]} more"
    return f"{type(error).__name__}: {(text.strip().splitlines() or [''])[0]}".rstrip(": ")


_SHORT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|(can't|cannot|could not|unable to|failed to) alloc|alloc\w* failed|bad_alloc|can't start new thread"
    r"|failed to map segment",
    re.IGNORECASE,
)


def _available(root: Path) -> int:
    """Return the bytes that the machine has for new processes without swapping."""
    with suppress(OSError, StopIteration), (root / "proc/meminfo").open(encoding="utf-8") as lines:
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    # On systems without it, such as macOS: half of the memory.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_by_cgroups(root: Path) -> Iterator[int]:
    for folder, version in _groups(root, "memory"):
        # Beyond memory.high a group is not killed, but becomes extremely slow.
        names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
        limits = [limit for name in names if (limit := _number(folder / name)) is not None]
        used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
        if limits and used is not None:
            yield min(limits) - max(0, used - _file_cache(folder, version))


def _file_cache(folder: Path, version: int) -> int:
    """Return the bytes of file cache that the kernel frees before it kills a process."""
    try:
        rows = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        names = ["inactive_file", "active_file"]
        if version == 1 and "total_inactive_file" in rows:
            names = [f"total_{name}" for name in names]  # includes the groups below
        return sum(int(rows.get(name, 0)) for name in names)
    except (OSError, ValueError):
        return 0


def _left_by_ulimits(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        status = dict(line.split(":", 1) for line in (root / "proc/self/status").read_text(encoding="utf-8").splitlines() if ":" in line)
        for limit, row in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            bytes_allowed, _ = resource.getrlimit(limit)
            if bytes_allowed != resource.RLIM_INFINITY and row in status:
                yield bytes_allowed - 1024 * int(status[row].split()[0])


def _cpu_quotas(root: Path) -> Iterator[int]:
    for folder, version in _groups(root, "cpu"):
        with suppress(OSError, ValueError):
            if version == 2:
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
            if int(quota) > 0:
                yield math.ceil(int(quota) / int(period))


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Iterate over the visible cgroups of this process with ``controller``, and their parents."""
    try:
        memberships = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for mount in mounts:
        dash = mount.index("-")
        kind, options = mount[dash + 1], mount[-1].split(",")
        version = {"cgroup": 1, "cgroup2": 2}.get(kind)
        if version is None or (version == 1 and controller not in options):
            continue
        for _, controllers, path in memberships:
            if controller in controllers.split(",") if version == 1 else not controllers:
                base = root / _unescape(mount[4]).lstrip("/")
                folder = base / _below(_unescape(mount[3]), path)
                while True:
                    yield _Group(folder, version)
                    if folder == base:
                        break
                    folder = folder.parent


def _below(mounted: str, path: str) -> PurePosixPath:
    """Return the path of a cgroup relative to a mount whose root is the group ``mounted``."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(mounted):
        return PurePosixPath()
    return group.relative_to(mounted)


def _unescape(text: str) -> str:
    """Decode a path of /proc/self/mountinfo, which has octal codes in place of spaces."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"


def _number(file: Path) -> int | None:
    """Read a number from a cgroup file; None if it is missing or says "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text(encoding="utf-8"))
    return None
