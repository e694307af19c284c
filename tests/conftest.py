"""What all tests share: small simulated images, and pgen as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

# Each of several workers has one core: more threads than cores, which wait for each other, take ten times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import torch

from tests.helpers import warm

# Signals are tested, and those that a shell ignores, as by nohup or &, would be ignored by every process that a test begins. A handler,
# which no other process inherits, lets this one outlive its terminal all the same.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

if not torch.cuda.is_available():
    # Triton's kernels then run on the CPU. Here, since Triton asks for it when it is first imported, by whichever test.
    os.environ["TRITON_INTERPRET"] = "1"


def run_pgen(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] = os.environ, fresh: bool = False, **options
) -> subprocess.CompletedProcess[str]:
    """Run ``pgen ARGUMENTS`` in its own process: a quick one (tests/helpers/warm.py), or as users do with ``fresh`` or ``options``."""
    words = list(map(str, arguments))
    if not (fresh or options):
        return warm.run(words, cwd, env)
    command = [sys.executable, "-m", "pgen", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture
def pgen():
    def run(*arguments: object, code: int = 0, **options) -> subprocess.CompletedProcess[str]:
        result = run_pgen(*arguments, **options)
        assert result.returncode == code, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture
def refuses(pgen):
    """A command that must end with one sentence, exit code 2 and no traceback."""

    def run(*arguments: object, saying: str, **options) -> None:
        result = pgen(*arguments, code=2, **options)
        sentence = " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
        assert saying in sentence, sentence

    return run


IMAGES = "simulate:n=96,size=32,seed=3"
SMALL_AE = ("--n-layers", "2", "--depth", "4", "--l-dim", "8", "--batch-size", "16", "--threshold", "10")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained auto-encoder, its codes, and an EWM run on them."""
    root = tmp_path_factory.mktemp("pipeline")
    for arguments in (
        ("train", "ae", "--data", IMAGES, *SMALL_AE, "--num-epochs", "30", "--checkpoint", "60", "--save-root", "runs", "--name", "ae"),
        ("deploy", "runs/ae"),
        ("train", "ewm", "--targets", "runs/ae/deploy/codes.pt", "--num-epochs", "2", "--ots-steps", "20", "--batch-size", "32",
         "--n-hidden", "32", "--z-dim", "4", "--save-root", "runs", "--name", "ewm"),
    ):  # fmt: skip
        result = run_pgen(*arguments, cwd=root)
        assert result.returncode == 0, result.stderr
    return root
