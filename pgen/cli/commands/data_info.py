"""`pgen data info`: what is in a source of images."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgen.cli.console import console, follow, progress_bar
from pgen.cli.options import DataRoot, MaxSkipped, Overwrite, Source
from pgen.errors import listed
from pgen.utils.paths import expand
from pgen.utils.text import printable, shortened

if TYPE_CHECKING:
    from pgen.data.images import ImageSet

#: Files of a pattern, and things in a file, that are listed.
FILES, CONTENTS = 5, 12
#: Columns of a page, on wider terminals too.
WIDTH = 80


def info(
    source: Source,
    threshold: Annotated[float, typer.Option(help="Charge above which a pixel counts as lit.")] = 0.0,
    preview: Annotated[
        Path | None, typer.Option(help="Picture of 16 images to write (.png, ...), or - to draw one image in the terminal.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, numbers with all their digits.")] = False,
    max_skipped: MaxSkipped = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Say what files or folders of images hold: sizes, counts, charge."""
    from pgen.data import describe, open_images
    from pgen.data.io.contents import contents
    from pgen.data.io.sources import files_of
    from pgen.errors import ChoiceNeeded
    from pgen.report.figures.base import check_figure_path
    from pgen.utils.files import refuse_existing

    in_terminal = preview == Path("-")
    if preview is not None and not in_terminal:
        inputs = files_of(source, data_root=data_root)
        preview = refuse_existing(check_figure_path(expand(preview)), overwrite=overwrite, inputs=inputs)
    paths = files_of(source, data_root=data_root)
    files = {str(path): contents(path, source) for path in (paths if as_json else paths[:FILES])}
    if not as_json:
        for name, there in files.items():
            _show(name, _first(there))
        if len(paths) > FILES:
            _line(f"... and {len(paths) - FILES:,} files more")
    try:
        images = open_images(source, data_root=data_root, max_skipped=max_skipped)
    except ChoiceNeeded as choice:
        if as_json:
            console.print_json(data={"files": files, "images": None, "choice": str(choice)}, ensure_ascii=True)
        else:
            _line("")
            _line(printable(str(choice)))
        return
    with progress_bar("reading") as tick:
        facts = describe(images, threshold=threshold, progress=tick)
    if as_json:
        console.print_json(data={"files": files, "images": facts}, ensure_ascii=True)
    else:
        _show("As images", dict(readable(facts)))
    if preview is not None:
        _preview(images, None if in_terminal else preview)
    elif not as_json:
        root = () if data_root is None else ("--data-root", data_root)
        follow(("data", "split", source, *root, "--out", "data"))


def readable(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What :func:`pgen.data.describe` says, as (title, text) for people: three significant digits, units, nothing that says nothing."""
    left = dict(facts)
    take = left.pop
    unit, threshold = take("unit"), take("threshold")
    for key in ("name", "dtype", "fingerprint"):
        take(key)
    for key in ("transpose", "tick_order"):  # which rows and columns say
        take(key, None)
    made_by = [f"{take(key)}" for key in ("product", "producer") if key in left]
    yield "format", take("format") + (f", {' of '.join(made_by)}" if made_by else "")
    count, events = take("count"), take("events")
    yield "images", f"{count:,} image{'s' * (count != 1)} of {events:,} event{'s' * (events != 1)}"
    yield "event names", take("event_names", "as the source has them")
    if shared := take("events_in_several_files"):
        yield "", f"{shared:,} events have images in several files and stay together; events=file tells such files apart"
    skipped, reasons = take("skipped_events"), take("skipped_reasons")
    if skipped:
        yield "skipped", f"{skipped:,} event{'s' * (skipped != 1)}: {listed((f'{why} ({n:,})' for why, n in reasons.items()), 6)}"
    channels, rows, columns = take("shape")
    planes = f" (plane{'s' * (channels > 1)} {listed(take('planes'), 8)})" if "planes" in left else ""
    yield "shape", f"{channels} channel{'s' * (channels > 1)}{planes}, {rows} rows, {columns} columns"
    for key in ("layout", "rows", "columns"):
        if key in left:
            yield key, take(key)
    spans = [f"{name} {span[0]} to {span[1]}" for name in ("rows", "columns") if (span := take(f"{name}_above_threshold"))]
    if spans:
        yield "charge lies in", ", ".join(spans)
    if "pixel_rows_columns" in left:
        pixel = take("pixel_rows_columns")
        yield "pixel", pixel if isinstance(pixel, str) else " x ".join(map(number, pixel)) + ", rows x columns, in units of the file"
        yield "first pixel at", f"{_range(take('first_row_at'))} and {_range(take('first_column_at'))}"
    yield "charge", f"{number(take('charge_min'))} to {number(take('charge_max'))} {unit}"
    if (suppression := take("zero_suppression", None)) is not None:
        yield "zero suppression", f"|charge| at or below {number(suppression)} {unit} is 0"
    net, absolute, negative = take("mean_total_charge"), take("mean_total_absolute_charge"), take("negative_fraction")
    if negative:
        signs = f"|charge| {number(absolute)} {unit}, {number(100 * negative)} % of it negative"
        yield "mean total", f"net {number(net)} {unit} per image, {signs}"
    else:
        yield "mean total", f"{number(net)} {unit} per image"
    above = f"{'with |charge| ' if negative else ''}above {number(threshold)} {unit}"
    occupancy = f"{number(100 * take('occupancy'))} % of pixels {above}"
    above_zero = take("occupancy_above_0")
    yield "occupancy", occupancy + (f", {number(100 * above_zero)} % above 0" if threshold else "")
    if blank := take("blank_images"):
        yield "blank", f"{blank:,} images without a pixel {above}"
    if percentiles := take("charge_percentiles"):
        yield "percentiles", ", ".join(f"{p}%: {number(q)}" for p, q in percentiles.items()) + f" ({unit}, of pixels {above})"
    labels = take("labels")
    if note := take("labels_from", None):
        yield "labels from", note
    for name, summary in list(labels.items())[:CONTENTS]:
        yield f"label {name}", _label(summary)
    if len(labels) > CONTENTS:
        yield "", f"... and {len(labels) - CONTENTS:,} labels more"
    for key, value in left.items():
        if value is not None and value != {}:
            yield key.replace("_", " "), _plain(value)
    yield "fingerprint", facts["fingerprint"]


def number(value: float) -> str:
    """Three significant digits; a count as it is."""
    if isinstance(value, int):
        return f"{value:,}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 1000 <= abs(rounded) < 1e9 else f"{rounded:g}"


def _range(ends: list[float]) -> str:
    low, high = map(number, ends)
    return low if low == high else f"{low} to {high}"


def _label(summary: Mapping[str, Any]) -> str:
    if counts := summary.get("counts"):
        if len(counts) == 1:
            return f"{_kind(*counts)} for all"
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        return listed(f"{_kind(kind)} ({count:,})" for kind, count in ordered)
    if "distinct" in summary:
        return f"{summary['distinct']:,} different values"
    return f"{number(summary['min'])} to {number(summary['max'])}, mean {number(summary['mean'])}"


def _kind(text: str) -> str:
    """A value of a label that is counted: a fraction by three digits, a name or a whole number as it is."""
    try:
        return text if text.lstrip("-").isdigit() else number(float(text))
    except ValueError:
        return text


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return listed(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return listed(map(_plain, value), 8)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def _first(there: Mapping[str, str]) -> dict[str, str]:
    """The first things in a file, and how many more there are."""
    shown = dict(list(there.items())[:CONTENTS])
    return shown | ({"...": f"and {len(there) - CONTENTS:,} more"} if len(there) > CONTENTS else {})


def _show(title: str, lines: Mapping[str, str] | dict[str, str]) -> None:
    _line(printable(title))
    rows = [(shortened(key), printable(text)) for key, text in lines.items()]
    width = min(max((len(key) for key, _ in rows), default=0), WIDTH // 2)
    for key, text in rows:
        if len(text) > WIDTH - width - 4 and " " not in text:
            _line(f"  {key}  {text}")  # as a fingerprint, which is not to be torn
            continue
        for k, line in enumerate(textwrap.wrap(text, WIDTH - width - 4, break_long_words=False, break_on_hyphens=False) or [""]):
            _line(f"  {'' if k else key:<{width}}  {line}")


def _line(text: str) -> None:
    console.print(text, soft_wrap=True)


def _preview(images: ImageSet, path: Path | None) -> None:
    """16 images, evenly spread, as a picture; without a path the one with the most charge of them, in letters."""
    import numpy as np

    chosen = np.unique(np.linspace(0, len(images) - 1, 16).astype(int))
    pixels = images.read(chosen)
    if path is None:
        from pgen.report.ascii_preview import render_ascii

        brightest = int(np.abs(pixels).sum((1, 2, 3)).argmax())
        _line(printable(f"Image {images.ids[chosen[brightest]]}"))
        _line(render_ascii(pixels[brightest]))
        return
    from pgen.report.figures.base import save_figure
    from pgen.report.figures.image_grid import plot_images

    labels = [printable(name) for name in images.ids[chosen].tolist()]
    save_figure(plot_images(pixels, labels, unit=images.unit), path)
    _line(printable(f"Picture: {path}"))
