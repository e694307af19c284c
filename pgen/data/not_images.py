"""Outputs of pgen given in place of images or codes: what they are, what to give instead."""

from __future__ import annotations

import json
from pathlib import Path

#: By ending or whole name: what a file is, and what to do.
FILES = {
    ".safetensors": "the weights of a model, not images",
    ".pt2": "a generator as one program, not images; make images first: pgen sample {path} --out samples.h5",
    "config.json": "the options of a run, not images",
    "metrics.jsonl": "the losses of a run, not images",
    "results.json": "the results of an evaluation, not images",
    ".html": "a page for a browser, not images",
    ".toml": "options for --config, not images",
}


def explain(path: Path, *, targets: bool = False) -> str | None:
    """Explain what ``path`` is if it is a run or another output of pgen; else None.

    Args:
        path: A file or folder.
        targets: Whether latent codes may be given too.
    """
    if path.is_dir():
        return _explain_folder(path, targets=targets)
    if path.parent.name == "checkpoints" and (run := find_model(path.parent.parent)):
        return f"a checkpoint of the run {path.parent.parent} ({run}), not images; {_alternative(path.parent.parent, targets=targets)}"
    return None


def explain_file(path: Path) -> str | None:
    """Explain by its name what a file of no known format is; None if its name says nothing."""
    explanation = FILES.get(path.name) or FILES.get(path.suffix)
    return None if explanation is None else explanation.format(path=path)


def explain_missing(path: Path) -> str:
    """Say how to make codes.pt, if that is what is missing; else empty."""
    if path.name != "codes.pt":
        return ""
    run = next((str(folder) for folder in path.parents if find_model(folder)), "RUN")
    return f"`pgen deploy {run}` writes {run}/deploy/codes.pt"


def find_model(folder: Path) -> str | None:
    """Return the name of the model whose run is in a folder; None if there is no run."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["model"]) if str(config["format"]).startswith("pgen-run-") else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _explain_folder(folder: Path, *, targets: bool) -> str | None:
    if model := find_model(folder):
        return f"a run of pgen train ({model}), not images; {_alternative(folder, targets=targets)}"
    if folder.name in ("checkpoints", "model", "samples") and (model := find_model(folder.parent)):
        return f"a part of the run {folder.parent} ({model}), not images; {_alternative(folder.parent, targets=targets)}"
    if (folder / "codes.pt").is_file():
        return f"a folder that pgen deploy wrote; give its codes, {folder / 'codes.pt'}" + ("" if targets else ", as --targets")
    if (folder / "generator.pt2").is_file():
        return f"a folder that pgen deploy wrote; make images first: pgen sample {folder / 'generator.pt2'} --out samples.h5"
    if (folder / "results.json").is_file() and (folder / "report.html").is_file():
        return "an evaluation, not images"
    return None


def _alternative(run: Path, *, targets: bool) -> str:
    """Say what to give in place of a run."""
    codes = run / "deploy" / "codes.pt"
    if targets and codes.is_file():
        return f"give its latent codes, {codes}"
    if targets and not (run / "deploy" / "generator.pt2").is_file():
        return f"deploy it first (pgen deploy {run}), and give {codes}"
    if codes.is_file():
        return f"give images, or its latent codes as --targets {codes}"
    return f"give images; those of a generator come from pgen sample {run} --out samples.h5"
