"""`pgen sample`: generate images by a run or an exported generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pgen.cli.console import echo, print_next_steps, show_progress
from pgen.cli.options import BatchSize, Checkpoint, Decoder, Device, FileFormat, OutFile, Overwrite, Threads
from pgen.utils.paths import expand_option


def sample(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|generator.pt2", help="Run folder of pgen train, or generator.pt2 of pgen deploy.", callback=expand_option
        ),
    ],
    out: OutFile,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Number of images.")] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of all random numbers. The same seed, -n and --batch-size give the same images.")
    ] = 0,
    format: FileFormat = None,
    grid: Annotated[
        Path | None, typer.Option(help="Also draw the first images in this figure (FILE.png, ...).", callback=expand_option)
    ] = None,
    decoder: Decoder = None,
    checkpoint: Checkpoint = "best",
    batch_size: BatchSize = 256,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Generate images by a trained model, with charge in the unit of the training images.

    Conditions of the run can be added, such as --type proton --momentum 300,
    and sampling options of the model.
    """
    from pgen.cli.options import parse_extra_options
    from pgen.data.io.write import refuse_count
    from pgen.engine.runtime.device import choose_device
    from pgen.plugins.requests import SampleRequest

    refuse_count(n, out)
    extra_options = parse_extra_options(context.args)
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
        conditions=extra_options,
    )
    torch_device = choose_device(device)
    with show_progress("sampling") as progress:
        if source.is_file():
            from pgen.engine.inference.sample import sample_program

            path = sample_program(source, request, torch_device, progress)
        else:
            from pgen.engine import hooks
            from pgen.engine.run import Run

            run = Run.open(source, device=torch_device, progress=progress)
            conditions, sampling = run.split_options(extra_options)
            run = run.with_sampling_options(sampling)
            path = hooks.call(run, "sample", request=replace(request, conditions=conditions))
    echo(f"{n} images: {path}" + (f"\nFigure: {grid}" if grid else ""))
    from pgen.cli.next_steps import suggest_evaluation

    preview = ("data", "info", path, "--preview", "-")
    if source.is_file():
        print_next_steps(preview)
    else:
        print_next_steps(suggest_evaluation(path, source), preview)
