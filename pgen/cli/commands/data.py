"""`pgen data`: look at, make, rewrite, cut and divide sets of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pgen.cli.commands import data_info
from pgen.cli.console import command_line, console, errors, follow, progress_bar
from pgen.cli.options import IMAGES, DataRoot, FileFormat, MaxSkipped, Overwrite, Source, Threads
from pgen.utils.paths import expand_option
from pgen.utils.text import printable

if TYPE_CHECKING:
    from pgen.data.images import ImageSet
    from pgen.data.processing.resumable import Result, ResumableTask
    from pgen.data.transforms.crop import Work
    from pgen.utils.formats import Format

app = typer.Typer(help="Look at, simulate, convert, merge, crop, split and export images.", no_args_is_help=True)

Processes = Annotated[
    int | None, typer.Option(min=1, help="Processes that share the work.", show_default="one for each thread, if worth it")
]
#: Rows or columns beyond which images are cut before training.
LARGE = 512


@app.callback()
def _group() -> None:
    """Look at, simulate, convert, merge, crop, split and export images."""


app.command("info")(data_info.info)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="File to write: .h5, .npz, or no suffix for a folder of PNGs.", callback=expand_option)],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many images.")] = 1000,
    size: Annotated[int, typer.Option(min=8, help="Rows and columns.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    particles: Annotated[str, typer.Option(help="Particles, joined by +.")] = "e+gamma+mu+pi+p",
    processes: Processes = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate single particles in liquid argon (a toy, for trying things)."""
    from pgen.data import write_images
    from pgen.data.io.write import refuse_count, refuse_output
    from pgen.data.simulation.generate import Settings, simulate_parts
    from pgen.utils.resources import cores

    refuse_output(out, overwrite=overwrite)
    settings = Settings((size, size), seed, particles.split("+"))
    settings.check(n)
    refuse_count(n, out)

    def work(start: int) -> Iterator[Result]:
        for part in simulate_parts(n, settings, processes=processes or cores(), start=start):
            yield range(start, start + len(part)), [part]
            start += len(part)

    with _going_on(out, {"simulate": n, **asdict(settings)}, n) as kept, progress_bar("simulating") as tick:
        write_images(out, _ticking(kept.run(work), tick, n), overwrite=overwrite)
    console.print(f"{n} images: {out}", markup=False, highlight=False)
    follow(("data", "split", out, "--out", "data"))


@app.command()
def crop(
    source: Source,
    out: Annotated[Path, typer.Option(help="File to write.", callback=expand_option)],
    size: Annotated[str, typer.Option(help="ROWSxCOLUMNS, or one number for a square.")] = "64",
    mode: Annotated[
        Literal["tiles", "centre"], typer.Option(help="All tiles of an image, or one window around its centre of charge.")
    ] = "tiles",
    border: Annotated[Literal["drop", "pad"], typer.Option(help="Windows that cross the border: dropped, or padded with zeros.")] = "drop",
    threshold: Annotated[float, typer.Option(help="Charge above which a pixel counts as lit.")] = 0.0,
    min_occupancy: Annotated[float, typer.Option(min=0, max=1, help="Windows with a smaller share of lit pixels are dropped.")] = 0.01,
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Cut images into smaller ones."""
    from pgen.data import open_images, write_images
    from pgen.data.io.sources import files_of
    from pgen.data.io.write import refuse_output
    from pgen.data.processing.parallel import map_chunks
    from pgen.data.processing.resumable import source_signature
    from pgen.data.transforms.crop import crop as crop_images
    from pgen.errors import PgenError
    from pgen.utils.formats import rows_columns

    refuse_output(out, overwrite=overwrite, inputs=files_of(source, data_root=data_root))
    try:
        shape = rows_columns(size)
    except ValueError as error:
        raise PgenError(f"--size {size}: {error}.") from None
    images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    _tell_skipped(images)
    cut = partial(crop_images, mode=mode, border=border, threshold=threshold, min_occupancy=min_occupancy)
    task = {"crop": shape, **cut.keywords, "source": source_signature(source, data_root, images)}
    with _going_on(out, task, len(images)) as kept, progress_bar("cropping") as tick:

        def map_parts(work: Work) -> Iterator[Result]:
            return kept.run(lambda start: map_chunks(source, data_root, images, work, processes, start))

        write_images(out, cut(images, shape, progress=tick, map_chunks=map_parts), overwrite=overwrite)
    # Resolved, since the name may be that of a scheme.
    console.print(f"{len(open_images(str(out.resolve())))} images: {out}", markup=False, highlight=False)
    follow(("train", "ae", "--data", out))


Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", help=f"{IMAGES} Several of the same size are joined.")]
Written = Annotated[
    Path, typer.Option(help="File to write: .h5 (an image store), .npz, or no suffix for a folder of PNGs.", callback=expand_option)
]


@app.command()
def convert(
    sources: Sources,
    out: Written,
    format: FileFormat = None,
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Write images in another format, those of several sources into one file."""
    _write(sources, out, format, processes, max_skipped, data_root, overwrite)


@app.command()
def merge(
    sources: Sources,
    out: Written,
    append: Annotated[bool, typer.Option("--append", help="Add to --out, which is an image store already.")] = False,
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the images of several sources into one file, or add them to one."""
    _write(sources, out, None, processes, max_skipped, data_root, overwrite, append)


@app.command()
def export(
    sources: Sources,
    out: Annotated[
        Path, typer.Option(help="File to write: .h5 (LArCV3), .npz, or no suffix for a folder of PNGs.", callback=expand_option)
    ],
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Write images for other programs: the same as convert, but that .h5 is LArCV3."""
    larcv3 = out.suffix.lower() in (".h5", ".hdf5")
    _write(sources, out, "larcv3" if larcv3 else None, processes, max_skipped, data_root, overwrite)


def _write(
    sources: list[str],
    out: Path,
    format: Format | None,
    processes: int | None,
    max_skipped: str | None,
    data_root: str | None,
    overwrite: bool,
    append: bool = False,
) -> None:
    from pgen.data import write_images
    from pgen.data.images import SparseImageSet
    from pgen.data.io.sources import files_of, open_all
    from pgen.data.io.write import append_images, refuse_output
    from pgen.data.processing.parallel import map_chunks, read_sparse
    from pgen.data.processing.resumable import source_signature
    from pgen.data.views import ConcatImages, shared_events_note
    from pgen.errors import PgenError

    if append and overwrite:
        raise PgenError("--append and --overwrite contradict each other; give one of them.")
    if not append:
        inputs = [path for source in sources for path in files_of(source, data_root=data_root)]
        refuse_output(out, format=format, overwrite=overwrite, inputs=inputs)
    sets = open_all(sources, data_root=data_root, max_skipped=max_skipped)
    if len(sets) > 1:
        joined = ConcatImages(sets, " ".join(sources))
        sets = joined.sets  # with ids that are unique among all
        _say(shared_events_note(joined))
    total = sum(map(len, sets))
    for images in sets:
        _tell_skipped(images)

    def work(start: int) -> Iterator[Result]:
        before = 0
        for source, images in zip(sources, sets, strict=True):
            first = max(start - before, 0)
            for part, pixels in map_chunks(source, data_root, images, read_sparse, processes, first):
                yield range(before + part.start, before + part.stop), [SparseImageSet.from_images(images, part, pixels)]
            before += len(images)

    task = {"write": [source_signature(source, data_root, images) for source, images in zip(sources, sets, strict=True)]}
    with _going_on(out, task, total) as kept, progress_bar("writing") as tick:
        iter_subsets = _ticking(kept.run(work), tick, total)
        if append:
            append_images(out, iter_subsets, waiting=lambda: _say(f"Waiting for another process, which appends to {out}"))
        else:
            write_images(out, iter_subsets, format=format, overwrite=overwrite)
    console.print(f"{total} images: {out}", markup=False, highlight=False)
    follow(("data", "info", out))


def _tell_skipped(images: ImageSet) -> None:
    """Say how many events of a source are left out for being odd, and why."""
    if skipped := images.left_out:
        _say(f"{images.name}: {skipped}.")


def _say(text: str) -> None:
    """A line to know of, if there is anything to say."""
    if text:
        errors.print(printable(text), soft_wrap=True)


@contextmanager
def _going_on(out: Path, task: Mapping[str, Any], total: int) -> Iterator[ResumableTask]:
    """What an interrupted run of the same task has kept, which is told."""
    from pgen.data.processing.resumable import resumable

    with resumable(out, task, total, _say) as kept:
        if kept.done:
            _say(f"Going on after {kept.done} of {total} images, kept in {kept.path}")
        yield kept


def _ticking(shares: Iterator[Result], tick: Callable[[int, int], None], total: int) -> Iterator[ImageSet]:
    """What was made, share by share, with progress after each."""
    for share, made in shares:
        yield from made
        tick(share.stop, total)


@app.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder for train.h5 and held_out.h5.", callback=expand_option)],
    held_out: Annotated[
        float, typer.Option(min=0, help="How many events (or values of --by) to hold out: a number, or a fraction below 1.")
    ] = 0.2,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed by which events are held out at random.", show_default="the last ones are held out")
    ] = None,
    by: Annotated[str, typer.Option(help="What stays together: event, or a label of the images, such as file.")] = "event",
    max_skipped: MaxSkipped = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Divide images into those to train on and those held out to judge by; images of one event stay together."""
    import numpy as np

    from pgen.data import open_images, write_images
    from pgen.data.images import iter_subsets
    from pgen.data.io.sources import files_of
    from pgen.data.transforms.split import split as divide
    from pgen.data.views import shared_events_note
    from pgen.errors import PgenError
    from pgen.utils.files import Outputs

    images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    if not math.isfinite(held_out) or (held_out > 1 and held_out != int(held_out)):
        raise PgenError(f"--held-out {held_out:g}: wanted a whole number of events, or a fraction below 1.")
    amount = held_out if held_out < 1 else int(held_out)
    with Outputs(overwrite=overwrite, inputs=files_of(source, data_root=data_root)) as outputs:
        drafts = [outputs.add(out / f"{name}.h5") for name in ("train", "held_out")]
        sides = divide(images, amount, by=by, seed=seed)
        _tell_skipped(images)
        if by == "event":
            _say(shared_events_note(images))
        if shared := len(np.intersect1d(sides[0].events, sides[1].events)):
            advice = "leave it out unless equal numbers are different events"
            _say(f"Warning: --by {by} puts images of {shared:,} events on both sides; {advice}.")
        for draft, side in zip(drafts, sides, strict=True):
            with progress_bar(f"writing {draft.name}") as tick:
                write_images(draft, iter_subsets(side, tick))
    for path, side in zip(outputs.targets, sides, strict=True):
        events = len(np.unique(side.events))
        held = f"{len(side)} image{'s' * (len(side) != 1)} of {events} event{'s' * (events != 1)}"
        console.print(f"{held}: {path}", markup=False, highlight=False, soft_wrap=True)
    if max(images.shape[1:]) > LARGE:
        # Both, since a model is judged by images like those that it learns from.
        crops = (("data", "crop", out / f"{name}.h5", "--size", 64, "--out", out / f"{name}_tiles.h5") for name in ("train", "held_out"))
        follow(", then ".join(command_line(*crop) for crop in crops))
    else:
        follow(("train", "ae", "--data", out / "train.h5", "--held-out", out / "held_out.h5"))
