"""`pgen data info`: what a source of images contains."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgen.cli.console import console, echo, print_next_steps, progress_bar
from pgen.cli.error_messages import with_flags
from pgen.cli.options import DataRoot, MaxSkipped, Overwrite, Source
from pgen.errors import format_list
from pgen.utils.paths import expand
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from pgen.data.images import ImageSet

#: Most files of a source, and items of a file, to list.
MOST_FILES, MOST_ITEMS = 5, 12
#: Columns of the output, also on wider terminals.
WIDTH = 80


def info(
    source: Source,
    threshold: Annotated[float, typer.Option(help="Count pixels with |charge| above this as occupied.")] = 0.0,
    preview: Annotated[
        Path | None, typer.Option(help="Figure of 16 images to write (FILE.png, ...), or - to draw one image in the terminal.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with numbers in full precision.")] = False,
    max_skipped: MaxSkipped = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what image files contain: format, counts, sizes, charge and labels."""
    from pgen.data import describe, open_images
    from pgen.data.io.contents import list_contents
    from pgen.data.io.sources import files_of
    from pgen.errors import ChoiceNeeded
    from pgen.report.figures.base import check_figure_path
    from pgen.utils.files import refuse_existing

    in_terminal = preview == Path("-")
    if preview is not None and not in_terminal:
        inputs = files_of(source, data_root=data_root)
        preview = refuse_existing(check_figure_path(expand(preview)), overwrite=overwrite, inputs=inputs)
    paths = files_of(source, data_root=data_root)
    files = {str(path): list_contents(path, source) for path in (paths if as_json else paths[:MOST_FILES])}
    if not as_json:
        for name, items in files.items():
            _show(name, _shorten_items(items))
        if len(paths) > MOST_FILES:
            echo(f"... and {len(paths) - MOST_FILES:,} more files")
    try:
        images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    except ChoiceNeeded as choice:
        if as_json:
            console.print_json(data={"files": files, "images": None, "choice": with_flags(str(choice))}, ensure_ascii=True)
        else:
            echo("")
            echo(with_flags(str(choice)))
        return
    with progress_bar("reading") as progress:
        facts = describe(images, threshold=threshold, progress=progress)
    if as_json:
        console.print_json(data={"files": files, "images": facts}, ensure_ascii=True)
    else:
        _show("As images", dict(readable(facts)))
    if preview is not None:
        _preview(images, None if in_terminal else preview)
    elif not as_json:
        root = () if data_root is None else ("--data-root", data_root)
        print_next_steps(("data", "split", source, *root, "--out", "data"))


def readable(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Format the result of :func:`pgen.data.describe`, with units and three significant digits.

    Yields:
        Pairs of title and text.
    """
    remaining = dict(facts)
    take = remaining.pop
    unit, threshold = take("unit"), take("threshold")
    for key in ("name", "dtype", "fingerprint"):
        take(key)
    for key in ("transpose", "tick_order"):  # "rows" and "columns" have them
        take(key, None)
    origin = [f"{take(key)}" for key in ("product", "producer") if key in remaining]
    yield "format", take("format") + (f", {' of '.join(origin)}" if origin else "")
    count, events = take("count"), take("events")
    yield "images", f"{count:,} image{'s' * (count != 1)} of {events:,} event{'s' * (events != 1)}"
    yield "event names", take("event_names", "from the source")
    if shared := take("events_in_several_files"):
        yield "", f"{shared:,} events have images in several files and stay together; events=file separates them by file"
    skipped, reasons = take("skipped_events"), take("skipped_reasons")
    if skipped:
        yield "skipped", f"{skipped:,} event{'s' * (skipped != 1)}: {format_list((f'{why} ({n:,})' for why, n in reasons.items()), 6)}"
    channels, rows, columns = take("shape")
    planes = f" (plane{'s' * (channels > 1)} {format_list(take('planes'), 8)})" if "planes" in remaining else ""
    yield "shape", f"{channels} channel{'s' * (channels > 1)}{planes}, {rows} rows, {columns} columns"
    for key in ("layout", "rows", "columns"):
        if key in remaining:
            yield key, take(key)
    spans = [f"{name} {span[0]} to {span[1]}" for name in ("rows", "columns") if (span := take(f"{name}_above_threshold"))]
    if spans:
        yield "charge is in", ", ".join(spans)
    if "pixel_rows_columns" in remaining:
        pixel = take("pixel_rows_columns")
        yield "pixel", pixel if isinstance(pixel, str) else " x ".join(map(format_number, pixel)) + ", rows x columns, in units of the file"
        yield "first pixel at", f"{_format_range(take('first_row_at'))} and {_format_range(take('first_column_at'))}"
    yield "charge", f"{format_number(take('charge_min'))} to {format_number(take('charge_max'))} {unit}"
    if (suppression := take("zero_suppression", None)) is not None:
        yield "zero suppression", f"|charge| at or below {format_number(suppression)} {unit} is 0"
    net, absolute, negative = take("mean_total_charge"), take("mean_total_absolute_charge"), take("negative_fraction")
    if negative:
        signs = f"|charge| {format_number(absolute)} {unit}, of which {format_number(100 * negative)} % negative"
        yield "mean total", f"net {format_number(net)} {unit} per image, {signs}"
    else:
        yield "mean total", f"{format_number(net)} {unit} per image"
    above = f"{'with |charge| ' if negative else ''}above {format_number(threshold)} {unit}"
    occupancy = f"{format_number(100 * take('occupancy'))} % of pixels {above}"
    above_zero = take("occupancy_above_0")
    yield "occupancy", occupancy + (f", {format_number(100 * above_zero)} % above 0" if threshold else "")
    if blank := take("blank_images"):
        yield "blank", f"{blank:,} images with no pixel {above}"
    if percentiles := take("charge_percentiles"):
        yield "percentiles", ", ".join(f"{p}%: {format_number(q)}" for p, q in percentiles.items()) + f" ({unit}, of pixels {above})"
    labels = take("labels")
    if note := take("labels_from", None):
        yield "labels from", note
    for name, summary in list(labels.items())[:MOST_ITEMS]:
        yield f"label {name}", _format_label(summary)
    if len(labels) > MOST_ITEMS:
        yield "", f"... and {len(labels) - MOST_ITEMS:,} more labels"
    for key, value in remaining.items():
        if value is not None and value != {}:
            yield key.replace("_", " "), _format(value)
    yield "fingerprint", facts["fingerprint"]


def format_number(value: float) -> str:
    """Format a number with three significant digits, and a count with all of them."""
    if isinstance(value, int):
        return f"{value:,}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 1000 <= abs(rounded) < 1e9 else f"{rounded:g}"


def _format_range(ends: list[float]) -> str:
    low, high = map(format_number, ends)
    return low if low == high else f"{low} to {high}"


def _format_label(summary: Mapping[str, Any]) -> str:
    if counts := summary.get("counts"):
        if len(counts) == 1:
            return f"{_format_value(*counts)} for all"
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        return format_list(f"{_format_value(value)} ({count:,})" for value, count in ordered)
    if "distinct" in summary:
        return f"{summary['distinct']:,} different values"
    return f"{format_number(summary['min'])} to {format_number(summary['max'])}, mean {format_number(summary['mean'])}"


def _format_value(text: str) -> str:
    """Format the value of a label: a fraction with three digits, a name or integer unchanged."""
    try:
        return text if text.lstrip("-").isdigit() else format_number(float(text))
    except ValueError:
        return text


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return format_list(f"{key}: {_format(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return format_list(map(_format, value), 8)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_number(value) if isinstance(value, int | float) else str(value)


def _shorten_items(items: Mapping[str, str]) -> dict[str, str]:
    """Return the first items of a file, and how many more there are."""
    shown = dict(list(items.items())[:MOST_ITEMS])
    return shown | ({"...": f"and {len(items) - MOST_ITEMS:,} more"} if len(items) > MOST_ITEMS else {})


def _show(title: str, lines: Mapping[str, str] | dict[str, str]) -> None:
    echo(title)
    rows = [(shorten(key), printable(text)) for key, text in lines.items()]
    width = min(max((len(key) for key, _ in rows), default=0), WIDTH // 2)
    for key, text in rows:
        if len(text) > WIDTH - width - 4 and " " not in text:
            echo(f"  {key}  {text}")  # such as a fingerprint, which should stay in one piece
            continue
        for k, line in enumerate(textwrap.wrap(text, WIDTH - width - 4, break_long_words=False, break_on_hyphens=False) or [""]):
            echo(f"  {'' if k else key:<{width}}  {line}")


def _preview(images: ImageSet, path: Path | None) -> None:
    """Show 16 images from all over the set.

    Args:
        images: The set.
        path: Figure to write; None to draw the image with the most charge in the terminal.
    """
    import numpy as np

    indices = np.unique(np.linspace(0, len(images) - 1, 16).astype(int))
    pixels = images.read(indices)
    if path is None:
        from pgen.report.ascii_preview import render_ascii

        brightest = int(np.abs(pixels).sum((1, 2, 3)).argmax())
        echo(f"Image {images.ids[indices[brightest]]}")
        echo(render_ascii(pixels[brightest]))
        return
    from pgen.report.figures.base import save_figure
    from pgen.report.figures.image_grid import plot_images

    labels = [printable(name) for name in images.ids[indices].tolist()]
    save_figure(plot_images(pixels, labels, unit=images.unit), path)
    echo(f"Figure: {path}")
