"""`pgen data`: inspect, simulate, convert, crop and split sets of images."""

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
from pgen.cli.console import command_line, echo, echo_message, print_next_steps, progress_bar
from pgen.cli.options import IMAGES, DataRoot, FileFormat, MaxSkipped, OutFile, Overwrite, Seed, Source, Threads
from pgen.errors import ConfigError, option
from pgen.utils.paths import expand_option

if TYPE_CHECKING:
    from pgen.data.images import ImageSet
    from pgen.data.processing.resumable import Result, ResumableTask
    from pgen.data.transforms.crop import Work
    from pgen.utils.spelling import Format

HELP = "Inspect, simulate, convert, merge, crop, split and export images."

app = typer.Typer(help=HELP, no_args_is_help=True)

Processes = Annotated[int | None, typer.Option(min=1, help="Worker processes.", show_default="one per thread, if there is enough work")]
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", help=f"{IMAGES} Several sources must have the same image size.")]
#: Images with more rows or columns than this are usually cropped before training.
LARGE = 512


@app.callback()
def _group() -> None:
    """Inspect, simulate, convert, merge, crop, split and export images."""


app.command("info")(data_info.info)


@app.command()
def simulate(
    out: OutFile,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Number of images.")] = 1000,
    size: Annotated[int, typer.Option(min=8, help="Rows and columns of an image.")] = 64,
    seed: Seed = 0,
    particles: Annotated[str, typer.Option(help="Particle types, joined by +.")] = "e+gamma+mu+pi+p",
    processes: Processes = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate single particles in liquid argon, by a simple model for trials and tests."""
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

    with _resume_task(out, {"simulate": n, **asdict(settings)}, n) as task, progress_bar("simulating") as progress:
        write_images(out, _iterate(task.run(work), progress, n), overwrite=overwrite)
    echo(f"{n} images: {out}")
    print_next_steps(("data", "split", out, "--out", "data"))


@app.command()
def crop(
    source: Source,
    out: OutFile,
    size: Annotated[str, typer.Option(help="Size of the crops: ROWSxCOLUMNS, or one number for squares.")] = "64",
    mode: Annotated[
        Literal["tiles", "centre"], typer.Option(help="tiles: all tiles of an image. centre: one window around the centre of charge.")
    ] = "tiles",
    border: Annotated[
        Literal["drop", "pad"], typer.Option(help="What to do with windows that extend over the border: drop them, or pad them with zeros.")
    ] = "drop",
    threshold: Annotated[float, typer.Option(help="Pixels with |charge| above this count as occupied.")] = 0.0,
    min_occupancy: Annotated[float, typer.Option(min=0, max=1, help="Drop windows with a smaller fraction of occupied pixels.")] = 0.01,
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
    from pgen.utils.spelling import parse_size

    refuse_output(out, overwrite=overwrite, inputs=files_of(source, data_root=data_root))
    try:
        shape = parse_size(size)
    except ValueError as error:
        raise ConfigError(f"{option('size', size)}: {error}.") from None
    images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    _print_skipped(images)
    make_crops = partial(crop_images, mode=mode, border=border, threshold=threshold, min_occupancy=min_occupancy)
    signature = {"crop": shape, **make_crops.keywords, "source": source_signature(source, data_root, images)}
    with _resume_task(out, signature, len(images)) as task, progress_bar("cropping") as progress:

        def map_parts(work: Work) -> Iterator[Result]:
            return task.run(lambda start: map_chunks(source, data_root, images, work, processes, start))

        write_images(out, make_crops(images, shape, progress=progress, map_chunks=map_parts), overwrite=overwrite)
    # The path is resolved because a source such as "mnist" has precedence over a file of that name.
    echo(f"{len(open_images(str(out.resolve())))} images: {out}")
    print_next_steps(("train", "ae", "--data", out))


@app.command()
def convert(
    sources: Sources,
    out: OutFile,
    format: FileFormat = None,
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert images to another file format; several sources give one file."""
    _write(sources, out, format, processes, max_skipped, data_root, overwrite)


@app.command()
def merge(
    sources: Sources,
    out: OutFile,
    append: Annotated[bool, typer.Option("--append", help="Append to --out, an existing image store.")] = False,
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Merge the images of several sources into one file, or append them to one."""
    _write(sources, out, None, processes, max_skipped, data_root, overwrite, append)


@app.command()
def export(
    sources: Sources,
    out: Annotated[Path, typer.Option(help="Output: FILE.h5 (LArCV3), FILE.npz, or a folder of PNGs (no suffix).", callback=expand_option)],
    processes: Processes = None,
    max_skipped: MaxSkipped = None,
    threads: Threads = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Export images for other programs. Like convert, but .h5 files are in LArCV3 format."""
    is_larcv3 = out.suffix.lower() in (".h5", ".hdf5")
    _write(sources, out, "larcv3" if is_larcv3 else None, processes, max_skipped, data_root, overwrite)


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

    if append and overwrite:
        raise ConfigError(f"{option('append')} and {option('overwrite')} contradict each other; give one of them.")
    if not append:
        inputs = [path for source in sources for path in files_of(source, data_root=data_root)]
        refuse_output(out, format=format, overwrite=overwrite, inputs=inputs)
    sets = open_all(sources, data_root=data_root, max_skipped=max_skipped)
    if len(sets) > 1:
        joined = ConcatImages(sets, " ".join(sources))
        sets = joined.sets  # with ids that are unique among all
        _print_note(shared_events_note(joined))
    total = sum(map(len, sets))
    for images in sets:
        _print_skipped(images)

    def work(start: int) -> Iterator[Result]:
        before = 0
        for source, images in zip(sources, sets, strict=True):
            first = max(start - before, 0)
            for part, pixels in map_chunks(source, data_root, images, read_sparse, processes, first):
                yield range(before + part.start, before + part.stop), [SparseImageSet.from_images(images, part, pixels)]
            before += len(images)

    signature = {"write": [source_signature(source, data_root, images) for source, images in zip(sources, sets, strict=True)]}
    with _resume_task(out, signature, total) as task, progress_bar("writing") as progress:
        iter_subsets = _iterate(task.run(work), progress, total)
        if append:
            append_images(out, iter_subsets, waiting=lambda: echo_message(f"Waiting for another process that appends to {out}"))
        else:
            write_images(out, iter_subsets, format=format, overwrite=overwrite)
    echo(f"{total} images: {out}")
    print_next_steps(("data", "info", out))


def _print_skipped(images: ImageSet) -> None:
    """Print how many unusable events of a source are skipped, and why."""
    if skipped := images.left_out:
        _print_note(f"{images.name}: {skipped}.")


def _print_note(text: str) -> None:
    if text:
        echo_message(text)


@contextmanager
def _resume_task(out: Path, signature: Mapping[str, Any], total: int) -> Iterator[ResumableTask]:
    """Start a task, or resume an interrupted one with the same signature.

    Args:
        out: The output.
        signature: What the output depends on.
        total: Number of images to process.
    """
    from pgen.data.processing.resumable import resumable

    with resumable(out, signature, total, _print_note) as task:
        if task.done:
            _print_note(f"Resuming after {task.done} of {total} images, found in {task.path}")
        yield task


def _iterate(shares: Iterator[Result], progress: Callable[[int, int], None], total: int) -> Iterator[ImageSet]:
    """Iterate over the images of all shares, reporting progress after each share."""
    for share, subsets in shares:
        yield from subsets
        progress(share.stop, total)


@app.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder for train.h5 and held_out.h5.", callback=expand_option)],
    held_out: Annotated[float, typer.Option(min=0, help="Events (or values of --by) to hold out: a number, or a fraction below 1.")] = 0.2,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed for holding out random events.", show_default="hold out the last events")
    ] = None,
    by: Annotated[str, typer.Option(help="Keep images together that have the same event, or the same value of this label.")] = "event",
    max_skipped: MaxSkipped = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Split images into training and held-out images. Images of the same event stay together."""
    import numpy as np

    from pgen.data import open_images, write_images
    from pgen.data.images import iter_subsets
    from pgen.data.io.sources import files_of
    from pgen.data.transforms.split import split as divide
    from pgen.data.views import shared_events_note
    from pgen.utils.files import Outputs

    images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    if not math.isfinite(held_out) or (held_out > 1 and held_out != int(held_out)):
        raise ConfigError(f"{option('held_out', f'{held_out:g}')}: expected a whole number of events, or a fraction below 1.")
    amount = held_out if held_out < 1 else int(held_out)
    with Outputs(overwrite=overwrite, inputs=files_of(source, data_root=data_root)) as outputs:
        drafts = [outputs.add(out / f"{name}.h5") for name in ("train", "held_out")]
        sides = divide(images, amount, by=by, seed=seed)
        _print_skipped(images)
        if by == "event":
            _print_note(shared_events_note(images))
        if shared := len(np.intersect1d(sides[0].events, sides[1].events)):
            advice = "leave it out unless equal event numbers mean different events"
            _print_note(f"Warning: {option('by', by)} puts images of {shared:,} events on both sides; {advice}.")
        for draft, side in zip(drafts, sides, strict=True):
            with progress_bar(f"writing {draft.name}") as progress:
                write_images(draft, iter_subsets(side, progress))
    for path, side in zip(outputs.targets, sides, strict=True):
        events = len(np.unique(side.events))
        count = f"{len(side)} image{'s' * (len(side) != 1)} of {events} event{'s' * (events != 1)}"
        echo(f"{count}: {path}")
    if max(images.shape[1:]) > LARGE:
        # Both, because held-out images must be like the training images.
        crops = (("data", "crop", out / f"{name}.h5", "--size", 64, "--out", out / f"{name}_tiles.h5") for name in ("train", "held_out"))
        print_next_steps(", then ".join(command_line(*crop) for crop in crops))
    else:
        print_next_steps(("train", "ae", "--data", out / "train.h5", "--held-out", out / "held_out.h5"))
