"""Training survives the loss of its terminal, loggers and disk space for logs; signals end it in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgen.data import open_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.runtime.signals import STOPPING, StopSignal, raise_on_signals
from pgen.errors import Stopped
from tests.engine.test_resume import wait_for
from tests.helpers.packages import fake_package
from tests.plugins.test_third_party import CRASHING

GAN = ("train", "gan", "--data", "simulate:n=40,size=8,seed=4", "--n-hidden", 4, "--batch-size", 10, "--sample-size", 0)


def start(*arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "pgen", *map(str, arguments)], **options)


def environment_with(folder: Path) -> dict[str, str]:
    """The environment, with packages in ``folder`` importable too."""
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def newest_step(folder: Path) -> int:
    return max(checkpoints.steps(RunDirectory(folder)), default=0)


def test_training_continues_when_the_reader_of_its_output_leaves(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = start(*GAN, "--max-steps", 60, "--checkpoint", 20, "--name", "x", cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert os.read(reader, 8)
    os.close(reader)  # as `| head -1` does
    assert process.wait(120) == 0
    assert newest_step(tmp_path / "runs/x") == 60


def test_commands_finish_without_a_reader_of_their_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    simulate = ("data", "simulate", "-n", 30, "--size", 8, "--out")
    process = start(*simulate, "a.h5", cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    # Closed from the start: no opened file takes the place of standard output.
    closed = f"{sys.executable} -m pgen {' '.join(map(str, simulate))} b.h5 >&- 2>&- <&-"
    assert subprocess.run(closed, shell=True, cwd=tmp_path, timeout=60, check=False).returncode == 0
    assert process.wait(60) == 0
    assert len(open_images(str(tmp_path / "a.h5"))) == len(open_images(str(tmp_path / "b.h5"))) == 30


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_a_full_disk_lost_is_reported_after_the_work(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start("data", "simulate", "-n", 30, "--size", 8, "--out", "a.h5", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1 and b"No space left on device" in log and b"Traceback" not in log
    assert (tmp_path / "a.h5").is_file()


def test_sighup_ends_training_like_other_signals(tmp_path: Path) -> None:
    process = start(*GAN, "--num-epochs", 10**6, "--log-every", 1, "--name", "x", cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_for(tmp_path / "runs/x/metrics.jsonl", process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 128 + signal.SIGHUP
    finally:
        process.kill()
    assert newest_step(tmp_path / "runs/x") > 0


@pytest.fixture
def handlers():
    """Restore signal handlers after the test."""
    former = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def test_sighup_is_ignored_under_nohup(handlers) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_signals()
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.signal == signal.SIGUSR1
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGUSR1)


def make_sleeping_model(folder: Path, name: str, where: str) -> None:
    """Make a package of a model that creates the file ``begun`` at ``where`` and then sleeps a minute."""
    wait = "open('begun', 'w').close(); __import__('time').sleep(60)"
    fake_package(folder, name, CRASHING.format(name=name, crash="pass").replace(f"pass  # {where}", wait))


def test_a_second_signal_ends_training_at_once(tmp_path: Path) -> None:
    make_sleeping_model(tmp_path, "slow", "training_step")
    process = start("train", "slow", *GAN[2:4], "--name", "x", cwd=tmp_path, env=environment_with(tmp_path), stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "begun", process)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # it finishes its step
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM


def test_a_signal_before_training_exits_with_the_requeue_code(tmp_path: Path) -> None:
    make_sleeping_model(tmp_path, "waiting", "__init__")
    arguments = ("train", "waiting", *GAN[2:4], "--name", "x", "--requeue-exit-code", 75)
    process = start(*arguments, cwd=tmp_path, env=environment_with(tmp_path), stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGUSR1)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 75 and "Stopped by SIGUSR1" in log and "Traceback" not in log


LOGGER = """
from pgen.engine.monitoring.loggers import Logger
class Failing(Logger):
    def {method}:
        {fault}
"""
LOGGERS = {
    "opening": ("__init__(self, folder, step)", "raise OSError('no network')"),
    "scalar": ("log_scalars(self, step, values)", "if step == 6: raise SystemExit('quota')"),
    "drawing": ("log_image(self, step, name, path)", "1 / 0"),
    "closing": ("close(self)", "raise RuntimeError('not closed')"),
}


def test_failing_loggers_are_reported_once_and_training_continues(pgen, tmp_path: Path) -> None:
    for name, (method, fault) in LOGGERS.items():
        fake_package(tmp_path, name, LOGGER.format(method=method, fault=fault), "pgen.loggers", "Failing")
    arguments = (*GAN[:-1], 2, "--log-every", 3, "--checkpoint", 4, "--max-steps", 12, "--log-to", ",".join(LOGGERS), "--name", "x")
    log = pgen(*arguments, cwd=tmp_path, env=environment_with(tmp_path)).stderr
    assert newest_step(tmp_path / "runs/x") == 12
    causes = ("OSError: no network", "SystemExit: quota", "ZeroDivisionError", "RuntimeError: not closed")
    for name, cause in zip(LOGGERS, causes, strict=True):
        assert log.count(f"--log-to {name} failed ({cause}") == 1, log
    assert (tmp_path / "runs/x/log.txt").read_text().count("training continues without it") == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_training_continues_if_logs_and_figures_cannot_be_written(pgen, tmp_path: Path) -> None:
    pgen(*GAN, "--max-steps", 2, "--checkpoint", 2, "--name", "x", cwd=tmp_path)
    run = tmp_path / "runs/x"
    for name in ("log.txt", "metrics.jsonl"):
        (run / name).unlink()
        (run / name).symlink_to("/dev/full")
    (run / "losses.png").unlink()
    (run / "losses.png").mkdir()
    log = pgen("train", "gan", "--resume", "runs/x", "--max-steps", 9, "--log-every", 1, cwd=tmp_path).stderr
    assert newest_step(run) == 9
    for name in ("log.txt", "metrics.jsonl", "pictures"):
        assert log.count(f"{name} cannot be written") == 1, log
