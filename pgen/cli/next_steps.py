"""First steps: what `pgen` alone says, and the commands that can follow a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pgen.cli.console import command_line, console
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.errors import PgenError

#: The words of a command.
Command = tuple[object, ...]

WHAT = "pgen trains generative models on pictures of liquid-argon detectors, and draws new pictures from them."
#: From nothing to new images, as in the README.
BEGIN = """\
  pgen data simulate -n 2500 --size 64 --seed 1 --out simulated.h5
  pgen data split simulated.h5 --held-out 500 --out data
  pgen train ae --data data/train.h5 --held-out data/held_out.h5 --threshold 10 --num-epochs 12 --name ae
  pgen deploy runs/ae
  pgen train ewm --targets runs/ae/deploy/codes.pt --num-epochs 12 --name ewm
  pgen sample runs/ewm -n 1000 --out samples.h5 --grid samples.png"""


def welcome() -> None:
    """What pgen is and what to do next: with the newest run, where the folder runs/ has one."""
    newest = _newest(Path("runs"))
    lines = [WHAT, ""]
    if newest is None:
        lines += ["First steps, on simulated pictures, some minutes in all (yours: pgen data info FILE):", BEGIN]
    else:
        folder, config, changed = newest
        lines += [f"Newest run: {folder.path}, a model {config['model']!r}, {_ago(time.time() - changed)}:"]
        lines += _columns({command_line(*command): purpose for command, purpose in next_steps(folder.path).items()})
    lines += ["", *_columns({"pgen --help": "all commands", "pgen doctor": "what this machine has, and what is missing"})]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def next_steps(run: Path) -> dict[Command, str]:
    """The commands that can follow the training of a run, the likeliest first, and what each is for. What kind of model it is, its
    config.json tells: to ask the model itself would take seconds."""
    folder, deployed = RunDirectory.open(run), run / "deploy"
    config = folder.read_config()
    if not folder.weights.exists():
        return {("train", config["model"], "--resume", run): "resume it: it has saved no model yet"}
    samples: Command = ("sample", run, "-n", 1000, "--out", "samples.h5", "--grid", "samples.png")
    of_generator = {samples: "new images", evaluation(run, run): "how good they are"}
    losses: dict[Command, str] = {("evaluate", "losses", run): "its training as a picture"}
    if (codes := deployed / "codes.pt").exists():
        if codes.stat().st_mtime < folder.weights.stat().st_mtime:
            return {("deploy", run, "--overwrite"): "codes anew: the model has been trained since they were made", **losses}
        return {
            ("train", "ewm", "--targets", codes): "a generator of images like those it was trained on",
            ("train", "flow", "--targets", codes): "another, also for codes that are maps",
            **losses,
        }
    generates = config.get("generates", (deployed / "generator.pt2").exists() or None)
    if generates:
        return of_generator
    if generates is False:
        return {("deploy", run): "an encoder's codes", **losses}
    # An earlier version did not note it.
    return {("deploy", run): "an encoder's codes, or a generator as one file", samples: "new images, of a generator", **losses}


def evaluation(generated: object, run: Path) -> Command:
    """`pgen evaluate all` of what ``run`` generated, with the real images that it, or the encoder of its codes, was trained on."""
    config = RunDirectory.open(run).read_config()
    if isinstance(codes := config["data"].get("codes"), dict):
        try:
            config = RunDirectory.open(codes["encoder"]["run"]).read_config()
        except (PgenError, KeyError, TypeError):
            config = {"settings": {}}
    settings = config["settings"]
    train = settings.get("data") or settings.get("dataset") or settings.get("targets") or "..."
    more = [] if not settings.get("threshold") else ["--threshold", f"{settings['threshold']:g}"]
    more += [] if not settings.get("data_root") else ["--data-root", settings["data_root"]]
    return ("evaluate", "all", "--generated", generated, "--train", train, "--held-out", settings.get("held_out") or "...", *more)


def _newest(root: Path) -> tuple[RunDirectory, dict[str, Any], float] | None:
    """The run that was trained last, its config.json and when; None where there is none that can be read."""
    runs = [RunDirectory(path.parent) for path in root.glob("*/config.json")]
    for changed, folder in sorted(((_changed(run), run) for run in runs), key=lambda pair: pair[0], reverse=True):
        try:
            return folder, folder.read_config(), changed
        except (PgenError, OSError):
            continue
    return None


def _changed(folder: RunDirectory) -> float:
    return max(path.stat().st_mtime for path in (folder.config, folder.metrics) if path.exists())


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _columns(rows: dict[str, str]) -> list[str]:
    """Commands, and beside each what it is for; below it, where that is too long for the terminal."""
    width = max(map(len, rows))
    if 2 + width + 2 + max(map(len, rows.values())) <= console.width:
        return [f"  {command:<{width}}  {purpose}" for command, purpose in rows.items()]
    return [line for command, purpose in rows.items() for line in (f"  {command}", f"      {purpose}")]
