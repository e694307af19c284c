"""`pgen sample`: images from a run or an exported generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pgen.cli.console import console, follow, image_progress
from pgen.cli.options import Decoder, FileFormat, Threads
from pgen.utils.paths import expand_option


def sample(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|generator.pt2", help="Run folder of pgen train, or generator.pt2 of pgen deploy.", callback=expand_option
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write: .h5, .npz, or no suffix for a folder of PNGs.", callback=expand_option)],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many images.")] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random numbers: the same seed, number and batch size give the same images.")
    ] = 0,
    format: FileFormat = None,
    grid: Annotated[Path | None, typer.Option(help="Picture of the first images to write too (.png, ...).", callback=expand_option)] = None,
    decoder: Decoder = None,
    checkpoint: Annotated[str, typer.Option(help="Which saved state: best, last, or the number of a step.")] = "best",
    batch_size: Annotated[int, typer.Option(min=1, help="Images worked on together; fewer take less memory.")] = 256,
    device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Generate new images by a trained model, with charge in the unit of its training images.

    A run may add options: the labels that it was trained with (pgen train --condition type,momentum), as --type proton --momentum 300,
    and those of its model that concern sampling.
    """
    from pgen.cli.options import more_options
    from pgen.data.io.write import refuse_count
    from pgen.engine.runtime.device import choose_device
    from pgen.plugins.requests import SampleRequest

    refuse_count(n, out)
    more = more_options(context.args)
    request = SampleRequest(
        n=n,
        out=out,
        seed=seed,
        grid=grid,
        checkpoint=checkpoint,
        decoder=decoder,
        batch_size=batch_size,
        overwrite=overwrite,
        format=format,
        conditions=more,
    )
    place = choose_device(device)
    with image_progress("sampling") as progress:
        if source.is_file():
            from pgen.engine.inference.sample import sample_program

            path = sample_program(source, request, place, progress)
        else:
            from pgen.engine import hooks
            from pgen.engine.run import Run

            run = Run.open(source, device=place, progress=progress)
            conditions, sampling = run.split_options(more)
            run = run.with_sampling_options(sampling)
            path = hooks.call(run, "sample", request=replace(request, conditions=conditions))
    console.print(f"{n} images: {path}" + (f"\nPicture: {grid}" if grid else ""), markup=False, highlight=False, soft_wrap=True)
    from pgen.cli.next_steps import evaluation

    look = ("data", "info", path, "--preview", "-")
    if source.is_file():
        follow(look)
    else:
        follow(evaluation(path, source), look)
