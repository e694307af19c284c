"""What an evaluation found, for programs: results.json, and a table of the generated images. docs/formats.md has the layout."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.metrics.runner import Evaluation
from pgen.report.report_directory import write_json
from pgen.utils.files import atomic_write


def write_results(out: Path, about: Mapping[str, Any], warnings: Sequence[str], evaluations: Sequence[Evaluation]) -> list[Path]:
    """Write the table of each set, and results.json, into the folder ``out``, which has the report already. The files written."""
    written = []
    for number, each in enumerate(evaluations, 1):
        if columns := each.per_image():
            written.append(out / ("images.csv" if len(evaluations) == 1 else f"images-{number}.csv"))
            with atomic_write(written[-1]) as temporary:
                _write_csv(temporary, columns)
    generated = {each.name: each.to_dict() for each in evaluations}
    results = {**about, "warnings": list(warnings), "generated": generated}
    write_json(out / "results.json", results, ["report.html", *(path.name for path in written)])
    return [out / "results.json", *written]


def _write_csv(path: Path, columns: Mapping[str, npt.NDArray]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table = csv.writer(stream)
        table.writerow(["image", *columns])
        for number, row in enumerate(zip(*columns.values(), strict=True)):
            table.writerow([number, *("" if isinstance(v, np.floating) and np.isnan(v) else f"{v:.6g}" for v in row)])
