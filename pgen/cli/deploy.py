"""`pgen deploy`: codes.pt of an encoder, generator.pt2 of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgen.cli.console import console, follow, ticking_reporter


def deploy(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write into. [default: RUN/deploy]", show_default=False)] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last, or a step.")] = "best",
    data: Annotated[str | None, typer.Option(help="Images to encode. [default: the training data]", show_default=False)] = None,
    data_root: Annotated[str | None, typer.Option(help="Folder in which a relative --data is looked up.")] = None,
    decoder: Annotated[str | None, typer.Option(help="Auto-encoder run, for a generator of codes that has no decoder of its own.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:i.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write what a trained model is for: code vectors (codes.pt) of an encoder, one program (generator.pt2) of a generator."""
    from pgen.engine.device import choose_device
    from pgen.engine.requests import DeployRequest
    from pgen.engine.run import Run

    request = DeployRequest(out or run / "deploy", checkpoint, data, data_root, decoder, batch_size, overwrite)
    with ticking_reporter("deploying") as reporter:
        opened = Run.open(run, device=choose_device(device), reporter=reporter)
        written = opened.hooks().deploy(run=opened, request=request)
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    for path in written:
        if path.name == "codes.pt":
            follow(("train", "ewm", "--targets", path))
        if path.name == "generator.pt2":
            follow(("sample", path, "-n", 1000, "--out", "samples.h5"))
