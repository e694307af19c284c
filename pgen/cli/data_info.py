"""`pgen data info`: what is in a source of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgen.cli.console import console, follow, progress_bar
from pgen.cli.options import DataRoot, Overwrite, Source

if TYPE_CHECKING:
    from pgen.data.images import ImageSet

#: Files of a pattern whose contents `info` lists.
LISTED = 5


def info(
    source: Source,
    threshold: Annotated[float, typer.Option(help="Charge above which a pixel counts as lit.")] = 0.0,
    preview: Annotated[
        Path | None, typer.Option(help="Picture of 16 images to write (.png, ...), or - to draw one image in the terminal.")
    ] = None,
    data_root: DataRoot = None,
    overwrite: Overwrite = False,
) -> None:
    """Say what files or folders of images hold: sizes, counts, charge."""
    from pgen.data import describe, open_images
    from pgen.data.contents import contents
    from pgen.data.source import files_of
    from pgen.errors import ChoiceNeeded
    from pgen.files import refuse_existing
    from pgen.report.figure import check_picture

    drawn_here = preview == Path("-")
    if preview is not None and not drawn_here:
        refuse_existing(check_picture(preview), overwrite=overwrite)
    paths = files_of(source, data_root=data_root)
    for path in paths[:LISTED]:
        _lines(str(path), contents(path, source))
    if len(paths) > LISTED:
        _lines(f"... and {len(paths) - LISTED} files more", {})
    try:
        images = open_images(source, data_root=data_root)
    except ChoiceNeeded as choice:
        console.print(f"\n{choice}", markup=False, highlight=False, soft_wrap=True)
        return
    with progress_bar("reading") as tick:
        facts = describe(images, threshold=threshold, progress=tick)
    _lines("As images", facts)
    if preview is not None:
        _preview(images, None if drawn_here else preview)
    else:
        root = () if data_root is None else ("--data-root", data_root)
        follow(("data", "split", source, *root, "--out", "data"))


def _lines(title: str, facts: Mapping[str, object]) -> None:
    width = max(20, *map(len, facts)) if facts else 0
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    for key, value in facts.items():
        console.print(f"{key:>{width}}  {value}", markup=False, highlight=False, soft_wrap=True)


def _preview(images: ImageSet, path: Path | None) -> None:
    """16 images, evenly spread, as a picture; without a path the one with the most charge of them, in letters."""
    import numpy as np

    chosen = np.unique(np.linspace(0, len(images) - 1, 16).astype(int))
    pixels = images.read(chosen)
    if path is None:
        from pgen.report.text import picture

        brightest = int(np.abs(pixels).sum((1, 2, 3)).argmax())
        _lines(f"Image {images.ids[chosen[brightest]]}", {})
        console.print(picture(pixels[brightest]), markup=False, highlight=False, soft_wrap=True)
        return
    from pgen.report.grid import save_grid

    save_grid(path, pixels, titles=images.ids[chosen].tolist(), unit=images.unit)
    console.print(f"Picture: {path}", markup=False, highlight=False, soft_wrap=True)
