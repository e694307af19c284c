"""What a user can do next: the first steps, and the commands that can follow a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pgen.cli.console import command_line, console, echo
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.errors import PgenError

#: The words of a command.
Command = tuple[object, ...]

INTRODUCTION = "pgen trains generative models on liquid-argon detector images and samples new images from them."
#: From simulated data to new images, as in the README.
FIRST_STEPS = """\
  pgen data simulate -n 2500 --size 64 --seed 1 --out images.h5
  pgen data split images.h5 --held-out 500 --out data
  pgen train ae --data data/train.h5 --held-out data/held_out.h5 --threshold 10 --num-epochs 12 --name ae
  pgen deploy runs/ae
  pgen train flow --targets runs/ae/deploy/codes.pt --num-epochs 20 --name flow
  pgen evaluate all --generated runs/flow --train data/train.h5 --held-out data/held_out.h5 -n 1000"""


def print_welcome() -> None:
    """Print what pgen is, and what to do next: with the newest run in runs/, if there is one."""
    lines = [INTRODUCTION, ""]
    run = _find_newest_run(Path("runs"))
    if run is None:
        lines += ["First steps with simulated images, a few minutes in all (for your own images: pgen data info FILE):", FIRST_STEPS]
    else:
        folder, config, changed = run
        lines += [f"Newest run: {folder.path}, model {config['model']}, {_format_age(time.time() - changed)}:"]
        lines += _format_columns({command_line(*command): purpose for command, purpose in suggest_next_steps(folder.path).items()})
    lines += ["", *_format_columns({"pgen --help": "all commands", "pgen doctor": "check this installation"})]
    echo("\n".join(lines))


def suggest_next_steps(run: Path) -> dict[Command, str]:
    """Suggest commands that can follow the training of a run, the most likely first.

    The kind of model is read from config.json, because loading the model would take seconds.

    Returns:
        Commands, each with its purpose.
    """
    folder, deployed = RunDirectory.open(run), run / "deploy"
    config = folder.read_config()
    if not folder.weights.exists():
        return {("train", config["model"], "--resume", run): "resume it: it has not saved a model yet"}
    sample: Command = ("sample", run, "-n", 1000, "--out", "samples.h5", "--grid", "samples.png")
    plot_losses: dict[Command, str] = {("evaluate", "losses", run): "plot its training curves"}
    if (codes := deployed / "codes.pt").exists():
        if codes.stat().st_mtime < folder.weights.stat().st_mtime:
            return {("deploy", run, "--overwrite"): "compute its latent codes again: it was trained further", **plot_losses}
        return {
            ("train", "ewm", "--targets", codes): "train a generator on its latent codes",
            ("train", "flow", "--targets", codes): "another generator, also for codes that are maps",
            **plot_losses,
        }
    generates = config.get("generates", (deployed / "generator.pt2").exists() or None)
    if generates:
        return {sample: "generate images", suggest_evaluation(run, run): "evaluate them"}
    if generates is False:
        return {("deploy", run): "compute its latent codes", **plot_losses}
    # Runs of earlier versions do not record which it is.
    return {
        ("deploy", run): "export latent codes, or the generator as one file",
        sample: "generate images, if it is a generator",
        **plot_losses,
    }


def suggest_evaluation(generated: object, run: Path) -> Command:
    """Suggest the evaluation of images that ``run`` generated.

    The real images are those that the run, or the encoder of its latent codes, was trained on.
    """
    config = RunDirectory.open(run).read_config()
    if isinstance(codes := config["data"].get("codes"), dict):
        try:
            config = RunDirectory.open(codes["encoder"]["run"]).read_config()
        except (PgenError, KeyError, TypeError):
            config = {"settings": {}}
    settings = config["settings"]
    train = settings.get("data") or settings.get("dataset") or settings.get("targets") or "..."
    options = [] if not settings.get("threshold") else ["--threshold", f"{settings['threshold']:g}"]
    options += [] if not settings.get("data_root") else ["--data-root", settings["data_root"]]
    return ("evaluate", "all", "--generated", generated, "--train", train, "--held-out", settings.get("held_out") or "...", *options)


def _find_newest_run(root: Path) -> tuple[RunDirectory, dict[str, Any], float] | None:
    """Find the newest readable run, with its config.json and the time of its last change."""
    runs = [RunDirectory(path.parent) for path in root.glob("*/config.json")]
    for changed, folder in sorted(((_last_change(run), run) for run in runs), key=lambda pair: pair[0], reverse=True):
        try:
            return folder, folder.read_config(), changed
        except (PgenError, OSError):
            continue
    return None


def _last_change(folder: RunDirectory) -> float:
    return max(path.stat().st_mtime for path in (folder.config, folder.metrics) if path.exists())


def _format_age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _format_columns(rows: dict[str, str]) -> list[str]:
    """Format commands and purposes, in two columns if the terminal is wide enough."""
    width = max(map(len, rows))
    if 2 + width + 2 + max(map(len, rows.values())) <= console.width:
        return [f"  {command:<{width}}  {purpose}" for command, purpose in rows.items()]
    return [line for command, purpose in rows.items() for line in (f"  {command}", f"      {purpose}")]
