"""What this job may use of its machine: memory, cores, open files; and how its libraries share the cores. No torch here.

A job often has less than its machine: schedulers and containers limit it by control groups (cgroups), shells by ``ulimit``. Functions that
take ``root`` read ``proc`` and ``sys`` below it, so that tests can give another machine's.

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

from pgen.errors import PgenError

ROOT = Path("/")
#: Spins of a waiting thread of GNU OpenMP before it sleeps, 20 to 100 microseconds. By default it spins for some 10 milliseconds, and on a
#: busy machine takes the core that the thread it waits for needs: a tenth of the speed. Sleeping at once costs idle machines a tenth.
SPINS = 2000
#: What libraries read from the environment when they load.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class _Group(NamedTuple):
    """A folder of a cgroup, and the version (1 or 2) of its files."""

    folder: Path
    version: int


def free_memory(root: Path = ROOT) -> int:
    """Compute how much memory this process can still take.

    Returns:
        Bytes: the least of what the machine has available, of what the limit of each cgroup above this process leaves (file cache can be
        taken back, so it counts as free), and of what RLIMIT_AS and RLIMIT_DATA leave.
    """
    return max(0, min([_available(root), *_left_by_cgroups(root), *_left_by_ulimits(root)]))


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raise a UserError where ``what`` would take more bytes than this process has left, and might be killed for it.

    Args:
        needed: bytes.
        what: named in the error, as its subject.
        remedy: what the user can do instead.
    """
    if needed > (free := free_memory()):
        raise PgenError(f"{what} would take {_gib(needed)} of memory, and this job has {_gib(free)} left; {remedy}.")


def cores(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Compute how many threads this job can run at the same time.

    Returns:
        At least 1: the least of the cores that the scheduler of the system gives this process, of the quota of each cgroup above it
        (rounded up) and of OMP_NUM_THREADS. Where all cores of the machine are free to use, SLURM_CPUS_PER_TASK counts too.
    """
    machine = os.cpu_count() or 1
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    limits = [count, *_cpu_quotas(root)]
    names = ["OMP_NUM_THREADS", *(["SLURM_CPUS_PER_TASK"] if count == machine else [])]
    for name in names:
        # OpenMP allows one number for each level of nesting, as in 4,2.
        if match := re.match(r"\s*([1-9]\d*)\s*(,|$)", environment.get(name, "")):
            limits.append(int(match[1]))
    return max(1, min(limits))


def open_file_limit() -> int:
    """How many files this process may have open at once."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if limit == resource.RLIM_INFINITY else limit


def raise_open_files() -> None:
    """Let this process open as many files as its hard limit allows: the usual 1024 is for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS gives no limit as the hard one, and refuses it as the soft one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def busy(root: Path = ROOT) -> float | None:
    """Compute how many threads run on this machine or wait for a core of it, where these are clearly more than it has cores.

    Returns:
        The load average of the last minute, or None where the machine is not busy.
    """
    try:
        load = float((root / "proc/loadavg").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return load if load > 1.5 * (os.cpu_count() or 1) + 1 else None


def limit_threads(count: int | None = None) -> int:
    """Let the numerical libraries of this process, and of those that it starts, compute in ``count`` threads.

    Best called before they load: OpenMP reads only then how its threads wait.

    Args:
        count: None for :func:`cores`.

    Returns:
        The number of threads.
    """
    names = [name for name in _THREADS if count is not None or name == "OMP_NUM_THREADS" or name not in os.environ]
    count = cores() if count is None else count
    os.environ.update(dict.fromkeys(names, str(count)))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # of other OpenMPs than GNU's
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    if any(name in sys.modules for name in ("numpy", "scipy", "torch", "sklearn")):
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
        with suppress(RuntimeError):  # once, and not after the first of such threads
            torch.set_num_interop_threads(count)
    return count


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice: Python's and NumPy's, or one of those that torch, HDF5, OpenMP and the system
    raise under other names."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ValueError | OSError | ImportError) and bool(_SHORT_OF_MEMORY.search(str(error)))


def describe_shortage(error: BaseException) -> str:
    """How much more memory was asked for, where an error that :func:`is_out_of_memory` says so; otherwise the error in one line."""
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
    """Bytes that the machine has for new processes without swapping."""
    with suppress(OSError, StopIteration), (root / "proc/meminfo").open(encoding="utf-8") as lines:
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    # Where the system does not tell, as macOS: half of what there is.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_by_cgroups(root: Path) -> Iterator[int]:
    for folder, version in _groups(root, "memory"):
        # memory.high does not kill, but slows a group beyond it down to a crawl.
        names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
        limits = [limit for name in names if (limit := _number(folder / name)) is not None]
        used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
        if limits and used is not None:
            yield min(limits) - max(0, used - _file_cache(folder, version))


def _file_cache(folder: Path, version: int) -> int:
    """Bytes of files that the kernel keeps for a cgroup and takes back before it kills."""
    try:
        rows = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        names = ["inactive_file", "active_file"]
        if version == 1 and "total_inactive_file" in rows:
            names = [f"total_{name}" for name in names]  # of the groups below, too
        return sum(int(rows.get(name, 0)) for name in names)
    except (OSError, ValueError):
        return 0


def _left_by_ulimits(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        status = dict(line.split(":", 1) for line in (root / "proc/self/status").read_text(encoding="utf-8").splitlines() if ":" in line)
        for limit, row in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most, _ = resource.getrlimit(limit)
            if most != resource.RLIM_INFINITY and row in status:
                yield most - 1024 * int(status[row].split()[0])


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
    """The cgroups of this process that have ``controller``, and all above them that this process can see."""
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
                base = root / _unescaped(mount[4]).lstrip("/")
                folder = base / _below(_unescaped(mount[3]), path)
                while True:
                    yield _Group(folder, version)
                    if folder == base:
                        break
                    folder = folder.parent


def _below(mounted: str, path: str) -> PurePosixPath:
    """Where a cgroup lies below a mount whose own root is ``mounted``: a container sees its own group as the root of all."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(mounted):
        return PurePosixPath()
    return group.relative_to(mounted)


def _unescaped(text: str) -> str:
    """A path of /proc/self/mountinfo, in which blanks and the like are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"


def _number(file: Path) -> int | None:
    """What a file of a cgroup holds; None where it is missing, or says "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text(encoding="utf-8"))
    return None
