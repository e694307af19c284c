"""A numerical summary of a set of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.images import FingerprintHasher, ImageSet
from pgen.data.sparse import above_threshold
from pgen.data.views import count_events_in_several_files
from pgen.errors import DataError

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
#: Pixels kept for percentiles.
MAX_SAMPLE = 10**6
#: A float label is categorical if each value occurs so many times on average.
MIN_REPEATS = 3


def describe(images: ImageSet, *, threshold: float = 0.0, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Summarise a set for ``pgen data info``, in one pass over its nonzero pixels.

    Charge is in the set's unit. Occupancy is the fraction of pixels with |charge| above
    ``threshold``; totals and percentiles are of the charge of these pixels, percentiles of at most
    a million of them. In the mean total charge, negative charge cancels positive charge.

    Args:
        images: The set.
        threshold: At least 0.
        progress: Called with (images done, images in total) after each chunk.

    Returns:
        Plain values.

    Raises:
        DataError: If the set is empty.
    """
    pixel_count, above_zero, above, blank, total, absolute = 0, 0, 0, 0, 0.0, 0.0
    sample: list[npt.NDArray] = []
    sample_size, stride = 0, 1
    lowest, highest = np.inf, -np.inf
    size = int(np.prod(images.shape))
    rows, columns = _Extent(), _Extent()
    hasher, done = FingerprintHasher(), 0
    for chunk in images.sparse_chunks():
        offsets, flat_index, value = chunk
        hasher.update(chunk)
        is_above = above_threshold(value, threshold)
        image = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        chunk_pixels = size * (len(offsets) - 1)
        pixel_count += chunk_pixels
        above_zero += int(np.count_nonzero(value))
        above += int(np.count_nonzero(is_above))
        row, column = np.divmod(flat_index[is_above] % (images.shape[1] * images.shape[2]), images.shape[2])
        rows.add(row)
        columns.add(column)
        blank += len(offsets) - 1 - len(np.unique(image[is_above]))
        total += float(value.sum(dtype=np.float64, where=is_above))
        absolute += float(np.abs(value).sum(dtype=np.float64, where=is_above))
        charges = value if len(value) == chunk_pixels else np.append(value, 0.0)
        lowest, highest = min(lowest, float(charges.min())), max(highest, float(charges.max()))
        sample.append(value[is_above][::stride])
        sample_size += len(sample[-1])
        if sample_size > MAX_SAMPLE:
            sample, stride = [np.concatenate(sample)[::2]], stride * 2
            sample_size = len(sample[0])
        done += len(offsets) - 1
        if progress:
            progress(done, len(images))
    if not pixel_count:
        raise DataError(f"{images.name}: holds no images; expected at least one.")
    charge = np.concatenate(sample)
    percentiles = zip(PERCENTILES, np.percentile(charge, PERCENTILES), strict=True) if sample_size else ()
    about = dict(images.about)
    return {
        "name": images.name,
        "format": about.pop("format", "array"),
        **about,
        "count": len(images),
        "events": len(np.unique(images.events)),
        "events_in_several_files": count_events_in_several_files(images),
        "skipped_events": len(images.left_out),
        "skipped_reasons": images.left_out.count_by_reason(),
        "shape": list(images.shape),
        "dtype": "float32",
        "unit": images.unit,
        **_describe_pixels(images.geometry_or_nan()),
        "threshold": threshold,
        "charge_min": lowest,
        "charge_max": highest,
        "occupancy_above_0": above_zero / pixel_count,
        "occupancy": above / pixel_count,
        "blank_images": blank,
        "rows_above_threshold": rows.span,
        "columns_above_threshold": columns.span,
        "mean_total_charge": total / len(images),
        "mean_total_absolute_charge": absolute / len(images),
        "negative_fraction": (absolute - total) / (2 * absolute) if absolute else 0.0,
        "charge_percentiles": {str(p): float(q) for p, q in percentiles},
        "labels": _describe_labels(images.labels),
        "fingerprint": hasher.hexdigest(images),
    }


class _Extent:
    """The lowest and highest of the numbers added to it."""

    span: list[int] | None = None

    def add(self, values: npt.NDArray[np.int64]) -> None:
        if len(values):
            ends = [int(values.min()), int(values.max())]
            self.span = ends if self.span is None else [min(self.span[0], ends[0]), max(self.span[1], ends[1])]


def _describe_pixels(geometry: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the length of a pixel, and where images lie, if known for all of them."""
    if not np.isfinite(geometry).all():
        return {}
    geometry = geometry.reshape(-1, 4)
    lengths = np.unique(geometry[:, 2:], axis=0)
    return {
        "pixel_rows_columns": lengths[0].tolist() if len(lengths) == 1 else f"{len(lengths)} different",
        "first_row_at": [float(geometry[:, 0].min()), float(geometry[:, 0].max())],
        "first_column_at": [float(geometry[:, 1].min()), float(geometry[:, 1].max())],
    }


def _describe_labels(labels: Mapping[str, npt.NDArray]) -> dict[str, Any]:
    """Return the counts of a categorical label, else its range."""
    summary: dict[str, Any] = {}
    for name, values in labels.items():
        kinds, counts = np.unique(values, return_counts=True)
        is_continuous = np.asarray(values).dtype.kind == "f" and len(kinds) > len(values) / MIN_REPEATS
        if len(kinds) <= 20 and not is_continuous:
            summary[name] = {"counts": {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}}
        elif values.dtype.kind in "iuf":
            summary[name] = {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
        else:
            summary[name] = {"distinct": len(kinds)}
    return summary
