"""What a set of images holds, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.images import FingerprintHasher, ImageSet, geometry
from pgen.data.skipped import NOTHING
from pgen.data.sparse import above_threshold, lit_chunks
from pgen.data.views import events_in_several
from pgen.errors import PgenError

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
SAMPLE = 10**6  #: lit pixels kept for percentiles
#: Times that each value of a label of floats is there, on average, if the label is one of kinds.
REPEATED = 3


def describe(images: ImageSet, *, threshold: float = 0.0, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Plain values for ``pgen data info``; one pass over the lit pixels, in chunks, with ``progress(done, total)`` after each.

    Charge is in the set's unit. A pixel counts if its |charge| is above ``threshold`` (at least 0): occupancy is the fraction of such
    pixels (occupancy_above_0: of those with any charge), totals and percentiles are of their charge (thinned evenly where there are more
    than a million). The mean total charge is the net one, in which negative charge cancels positive charge.
    """
    pixels_seen, above_zero, above, blank, total, absolute = 0, 0, 0, 0, 0.0, 0.0
    sample: list[npt.NDArray] = []
    kept, stride = 0, 1
    lowest, highest = np.inf, -np.inf
    size = int(np.prod(images.shape))
    rows, columns = _Extent(), _Extent()
    digest, done = FingerprintHasher(), 0
    for part in lit_chunks(images):
        offsets, flat_index, value = part
        digest.add(part)
        lit = above_threshold(value, threshold)
        image = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        seen = size * (len(offsets) - 1)
        pixels_seen += seen
        above_zero += int(np.count_nonzero(value))
        above += int(np.count_nonzero(lit))
        row, column = np.divmod(flat_index[lit] % (images.shape[1] * images.shape[2]), images.shape[2])
        rows.add(row)
        columns.add(column)
        blank += len(offsets) - 1 - len(np.unique(image[lit]))
        total += float(value.sum(dtype=np.float64, where=lit))
        absolute += float(np.abs(value).sum(dtype=np.float64, where=lit))
        charges = value if len(value) == seen else np.append(value, 0.0)
        lowest, highest = min(lowest, float(charges.min())), max(highest, float(charges.max()))
        sample.append(value[lit][::stride])
        kept += len(sample[-1])
        if kept > SAMPLE:
            sample, stride = [np.concatenate(sample)[::2]], stride * 2
            kept = len(sample[0])
        done += len(offsets) - 1
        if progress:
            progress(done, len(images))
    if not pixels_seen:
        raise PgenError(f"{images.name}: holds no images, wanted at least one.")
    charge = np.concatenate(sample)
    about, skipped = dict(getattr(images, "about", {})), getattr(images, "left_out", NOTHING)
    return {
        "name": images.name,
        "format": about.pop("format", "array"),
        **about,
        "count": len(images),
        "events": len(np.unique(images.events)),
        "events_in_several_files": events_in_several(images),
        "skipped_events": len(skipped),
        "skipped_reasons": skipped.by_reason(),
        "shape": list(images.shape),
        "dtype": "float32",
        "unit": images.unit,
        **_pixel(geometry(images)),
        "threshold": threshold,
        "charge_min": lowest,
        "charge_max": highest,
        "occupancy_above_0": above_zero / pixels_seen,
        "occupancy": above / pixels_seen,
        "blank_images": blank,
        "rows_above_threshold": rows.span,
        "columns_above_threshold": columns.span,
        "mean_total_charge": total / len(images),
        "mean_total_absolute_charge": absolute / len(images),
        "negative_fraction": (absolute - total) / (2 * absolute) if absolute else 0.0,
        "charge_percentiles": {str(p): float(q) for p, q in zip(PERCENTILES, np.percentile(charge, PERCENTILES), strict=True)}
        if kept
        else {},
        "labels": _summary(images.labels),
        "fingerprint": digest.of(images),
    }


class _Extent:
    """The first and last of numbers that are added."""

    span: list[int] | None = None

    def add(self, values: npt.NDArray[np.int64]) -> None:
        if len(values):
            ends = [int(values.min()), int(values.max())]
            self.span = ends if self.span is None else [min(self.span[0], ends[0]), max(self.span[1], ends[1])]


def _pixel(places: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The length of a pixel along rows and columns, and where images lie, if that is known of all of them."""
    if not np.isfinite(places).all():
        return {}
    places = places.reshape(-1, 4)
    lengths = np.unique(places[:, 2:], axis=0)
    return {
        "pixel_rows_columns": lengths[0].tolist() if len(lengths) == 1 else f"{len(lengths)} different",
        "first_row_at": [float(places[:, 0].min()), float(places[:, 0].max())],
        "first_column_at": [float(places[:, 1].min()), float(places[:, 1].max())],
    }


def _summary(labels: Mapping[str, npt.NDArray]) -> dict[str, Any]:
    """Counts of a label with few distinct values, else its range. Fractions that hardly repeat are no kinds, however few there are."""
    found: dict[str, Any] = {}
    for name, values in labels.items():
        kinds, counts = np.unique(values, return_counts=True)
        continuous = np.asarray(values).dtype.kind == "f" and len(kinds) > len(values) / REPEATED
        if len(kinds) <= 20 and not continuous:
            found[name] = {"counts": {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}}
        elif values.dtype.kind in "iuf":
            found[name] = {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
        else:
            found[name] = {"distinct": len(kinds)}
    return found
