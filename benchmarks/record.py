"""Write results files with date, machine and versions, and measure the memory of processes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def write(name: str, result: dict[str, Any], *packages: str, folder: Path = RESULTS) -> Path:
    """Write NAME.json: ``result``, date, machine, and versions of ``packages``."""
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            "pgen": version("pgen-lartpc"),
            **{package: version(package) for package in ("torch", "numpy", *packages)},
        },
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**result, **about}, indent=1) + "\n")
    return path


def memory(process: int) -> int:
    """Return the bytes (proportional set size) of a process and its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for each in family:
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def measured(*arguments: str, folder: Path) -> dict:
    """Run pgen; return wall time and peak memory of its processes, sampled 5 times per second."""
    began, peak = time.monotonic(), 0
    with subprocess.Popen([sys.executable, "-m", "pgen", *arguments], cwd=folder) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"pgen {' '.join(arguments)} ended with {process.returncode}")
    row = {"command": " ".join(["pgen", *arguments]), "seconds": round(time.monotonic() - began), "peak_gib": peak / 2**30}
    print(row, flush=True)
    return row


def _processor() -> str:
    """Return the name of the processor, if Linux reports it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
