"""What an evaluation found, for programs: results.json, and a table of the generated images. docs/formats.md has the layout."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.files import atomic
from pgen.metrics.suite import Evaluation

FORMAT = "pgen-results-1"


def write_results(out: Path, about: Mapping[str, Any], warnings: Sequence[str], evaluations: Sequence[Evaluation]) -> list[Path]:
    """Into the folder ``out``, in place of an earlier evaluation. The files written."""
    written = [out / "results.json"]
    tables = (path for path in out.glob("images*.csv") if re.fullmatch(r"images(-[0-9]+)?\.csv", path.name))
    earlier = set(tables) if written[0].exists() else set()
    generated = {each.name: each.to_dict() for each in evaluations}
    results = {"format": FORMAT, **about, "warnings": list(warnings), "generated": generated}
    with atomic(written[0]) as temporary:
        temporary.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    for number, each in enumerate(evaluations, 1):
        if columns := each.per_image():
            written.append(out / ("images.csv" if len(evaluations) == 1 else f"images-{number}.csv"))
            with atomic(written[-1]) as temporary:
                _write_csv(temporary, columns)
    for path in earlier - set(written):
        path.unlink()
    return written


def _write_csv(path: Path, columns: Mapping[str, npt.NDArray]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table = csv.writer(stream)
        table.writerow(["image", *columns])
        for number, row in enumerate(zip(*columns.values(), strict=True)):
            table.writerow([number, *("" if isinstance(v, np.floating) and np.isnan(v) else f"{v:.6g}" for v in row)])
