"""`pgen deploy`: latent codes of an encoder, or a generator as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgen.cli.console import echo, print_next_steps, show_progress
from pgen.cli.options import BatchSize, Checkpoint, DataRoot, Decoder, Device, Overwrite, Threads
from pgen.errors import ConfigError, option, option_name
from pgen.utils.paths import expand_option


def deploy(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of pgen train, such as runs/NAME.", callback=expand_option)],
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="RUN/deploy", callback=expand_option)] = None,
    checkpoint: Checkpoint = "best",
    data: Annotated[str | None, typer.Option(help="Images to encode.", show_default="the training data")] = None,
    data_root: DataRoot = None,
    decoder: Decoder = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a trained model: an encoder's latent codes, or a generator as one file.

    An encoder gives codes.pt, on which generators are trained.
    A generator gives generator.pt2, which runs without pgen.
    Sampling options of the model can be added; generator.pt2 keeps them.
    """
    from pgen.cli.options import parse_extra_options
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
    with show_progress("deploying") as progress:
        opened = Run.open(run, device=choose_device(device), progress=progress)
        conditions, sampling = opened.split_options(parse_extra_options(context.args))
        if conditions:
            raise ConfigError(
                f"{', '.join(map(option, conditions))}: an exported generator takes conditions later; give them to `pgen sample`."
            )
        written = hooks.call(opened.with_sampling_options(sampling), "deploy", request=request)
    for path in written:
        echo(path)
    for path in written:
        if path.name == "codes.pt":
            labels = ",".join(condition.name for condition in opened.info.conditions)
            # The network of flow knows which positions of a map are neighbours.
            model = "flow" if load_codes(path).is_map else "ewm"
            print_next_steps(("train", model, "--targets", path, *(("--condition", labels) if labels else ())))
        if path.name == "generator.pt2":
            examples = [word for condition in opened.info.conditions for word in (option_name(condition.name), condition.example)]
            print_next_steps(("sample", path, *examples, "-n", 1000, "--out", "samples.h5"))
