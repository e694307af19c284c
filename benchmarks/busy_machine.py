"""Speed of training on a busy machine, with default threads, one thread, and spinning threads.

    python benchmarks/busy_machine.py

Three trainings of `pgen train ae` take turns, each while the others are stopped: one thread
(`--threads 1`), the default threads, and as many threads that spin while they wait, as GNU OpenMP
does by default. First without other load, then next to four busy processes per core. A rate is
steps in the log over wall time. Also recorded are the cores that the run used (CPU time over wall
time), and those that all other processes used, which should be few. Writes
results/busy_machine.json.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import record
from pgen.utils.resources import cores

TICK = os.sysconf("SC_CLK_TCK")
BATCH = 64
SPINNERS = 4  # a core
RUNS: dict[str, tuple[list[str], dict[str, str]]] = {
    "one thread": (["--threads", "1"], {}),
    "default": ([], {}),
    "default, spinning": ([], {"GOMP_SPINCOUNT": "300000"}),
}
TRAIN = [sys.executable, "-m", "pgen", "train", "ae", "--data", "images.h5", "--threshold", "10", "--batch-size", str(BATCH)]
FOR_EVER = ["--num-epochs", "100000000", "--checkpoint", "100000000", "--log-every", "1", "--sample-size", "0"]


class Trained:
    """A run of `pgen train ae` that can be paused."""

    def __init__(self, name: str, folder: Path) -> None:
        options, environment = RUNS[name]
        self.log = folder / "runs" / name.replace(", ", "-").replace(" ", "-") / "metrics.jsonl"
        command = [*TRAIN, *FOR_EVER, *options, "--name", self.log.parent.name]
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while self.steps() < 3:
            time.sleep(0.1)
            if self.process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {self.process.returncode}")
        self.stop()

    def go(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def steps(self) -> int:
        return self.log.read_text().count("\n") if self.log.exists() else 0


@contextmanager
def spinning(count: int) -> Iterator[list[subprocess.Popen]]:
    """Keep busy processes running during the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def cpu_seconds(process: subprocess.Popen) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def machine_seconds() -> float:
    """Return the CPU time of all processes of the machine."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(interrupts[:2])) / TICK


def window(run: Trained, others: list[subprocess.Popen], seconds: float) -> dict[str, float]:
    """Measure a run for some seconds: images/s, its cores, and the cores of other jobs."""
    ours = [run.process, *others]
    steps, own, all_ours, machine = run.steps(), cpu_seconds(run.process), sum(map(cpu_seconds, ours)), machine_seconds()
    began = time.monotonic()
    run.go()
    time.sleep(seconds)
    run.stop()
    wall = time.monotonic() - began
    return {
        "images_per_second": BATCH * (run.steps() - steps) / wall,
        "cores": (cpu_seconds(run.process) - own) / wall,
        "cores_of_others": max(0.0, machine_seconds() - machine - (sum(map(cpu_seconds, ours)) - all_ours)) / wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run in a round; four times as long where it is busy")
    options = parser.parse_args()
    simulate = [sys.executable, "-m", "pgen", "data", "simulate", "-n", "512", "--size", "64", "--out", "images.h5"]
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(simulate, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        runs: dict[str, Trained] = {}
        try:
            for name in RUNS:
                runs[name] = Trained(name, Path(folder))
            for state, count in (("as it is", 0), ("busy", SPINNERS * cores())):
                with spinning(count) as others:
                    seconds = options.seconds * (4 if count else 1)
                    rounds = [{name: window(run, others, seconds) for name, run in runs.items()} for _ in range(options.rounds)]
                results[state] = {
                    name: {key: round(median(each[name][key] for each in rounds), 3) for key in rounds[0][name]} for name in runs
                }
                ratios = [each["default"]["images_per_second"] / each["one thread"]["images_per_second"] for each in rounds]
                results[state]["default_over_one_thread"] = {"median": round(median(ratios), 3), "rounds": [round(x, 3) for x in ratios]}
                print(state, results[state], flush=True)
        finally:
            for run in runs.values():
                run.process.kill()
                run.process.wait()
    about = {"what": f"pgen train ae, batches of {BATCH} images of 64 x 64", "spinning_processes": SPINNERS * cores()}
    record.write("busy_machine", {**about, "rounds": options.rounds, "states": results})


if __name__ == "__main__":
    main()
