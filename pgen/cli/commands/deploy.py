"""`pgen deploy`: codes.pt of an encoder, generator.pt2 of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgen.cli.console import console, follow, image_progress
from pgen.cli.options import DataRoot, Decoder, Threads
from pgen.errors import PgenError, option_name
from pgen.utils.paths import expand_option


def deploy(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of pgen train, as runs/NAME.", callback=expand_option)],
    out: Annotated[Path | None, typer.Option(help="Folder to write into.", show_default="RUN/deploy", callback=expand_option)] = None,
    checkpoint: Annotated[str, typer.Option(help="Which saved state: best, last, or the number of a step.")] = "best",
    data: Annotated[str | None, typer.Option(help="Images to make codes of.", show_default="the training data")] = None,
    data_root: DataRoot = None,
    decoder: Decoder = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images worked on together; fewer take less memory.")] = 256,
    device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Make files of a trained model: of an encoder codes.pt, on which generators train; of a generator generator.pt2, one program.

    A generator may add options, those of its model that concern sampling: the program has them as they are given here.
    """
    from pgen.cli.options import more_options
    from pgen.data import load_codes
    from pgen.engine import hooks
    from pgen.engine.run import Run
    from pgen.engine.runtime.device import choose_device
    from pgen.plugins.requests import DeployRequest

    request = DeployRequest(
        out=out or run / "deploy",
        checkpoint=checkpoint,
        data=data,
        data_root=data_root,
        decoder=decoder,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    with image_progress("deploying") as progress:
        opened = Run.open(run, device=choose_device(device), progress=progress)
        conditions, sampling = opened.split_options(more_options(context.args))
        if conditions:
            raise PgenError(f"{', '.join(map(option_name, conditions))}: it is for samples; give it to `pgen sample`.")
        written = hooks.call(opened.with_sampling_options(sampling), "deploy", request=request)
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    for path in written:
        if path.name == "codes.pt":
            told = ",".join(condition.name for condition in opened.info.conditions)
            # flow's network knows which places of a map are neighbours
            model = "flow" if load_codes(path).is_map else "ewm"
            follow(("train", model, "--targets", path, *(("--condition", told) if told else ())))
        if path.name == "generator.pt2":
            asked = [word for condition in opened.info.conditions for word in (option_name(condition.name), condition.example)]
            follow(("sample", path, *asked, "-n", 1000, "--out", "samples.h5"))
