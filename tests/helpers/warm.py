"""Run commands of pgen in processes that have the heavy imports already.

Importing torch and what the metrics need takes seconds, and the tests run hundreds of commands.
Each command still has its own process, with its own folder, environment, output and exit code, but
that is forked from a process that has only imported. What depends on how a process starts (signals,
launchers, other versions of a library, environment variables that a library reads on import, help
without torch) is tested by `python -m pgen`, as users start it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

LIBRARIES = ["torch", "torch._dynamo", "h5py", "scipy.stats", "sklearn.ensemble", "matplotlib.figure", "matplotlib.backends.backend_agg"]
#: Not pgen.cli, whose console reads the environment when it is created.
MODULES = ["engine.training.setup", "engine.hooks", "engine.evaluation.evaluate", "metrics.runner", "models.nn", "ot", "report.html_report"]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*LIBRARIES, *(f"pgen.{module}" for module in MODULES)])


def start(arguments: list[str], cwd: Path, out: Path, err: Path, env: Mapping[str, str] = os.environ) -> BaseProcess:
    """Start ``pgen ARGUMENTS`` in the folder ``cwd``; it writes to the files ``out`` and ``err``."""
    process = _processes.Process(target=_command, args=(arguments, cwd, dict(env), out, err))
    process.start()
    return process


def run(arguments: list[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ, timeout: float = 300) -> CompletedProcess[str]:
    """Run ``pgen ARGUMENTS`` in the folder ``cwd``."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start(arguments, cwd or Path.cwd(), out, err, env)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired(arguments, timeout, out.read_text(), err.read_text())
        return CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def _command(arguments: list[str], cwd: Path, env: dict[str, str], out: Path, err: Path) -> None:
    gc.freeze()  # otherwise the garbage collection of all imports takes a third of a second
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    added = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder not in sys.path]
    sys.path[:0] = [str(cwd), *added]  # as for python -m
    for stream, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    sys.argv = ["pgen", *arguments]
    runpy.run_module("pgen", run_name="__main__", alter_sys=True)
