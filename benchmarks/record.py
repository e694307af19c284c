"""What every results file says of where, when and with what it was measured."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def write(name: str, result: dict[str, Any], *packages: str) -> Path:
    """results/NAME.json: ``result``, then date, machine, and versions of Python, pgen, torch, numpy and ``packages``."""
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
            **{package: version(package) for package in ("pgen", "torch", "numpy", *packages)},
        },
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**result, **about}, indent=1) + "\n")
    return path


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
