"""Shape of the main track of an image: the cluster with the most charge, along its axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Shortest track in pixels that has ends and a width that opens; and one with a sagitta and gaps.
SHORTEST, SHORTEST_SLENDER = 10.0, 20.0
#: A slender track is at least so many times as long as it is thick.
SLENDER = 10.0
#: Pixels on either side of a kink, and its smallest angle in degrees.
ARM, KINK = 8, 20.0
#: An end closer to the border than this many pixels may be where the track leaves the image.
MARGIN = 3


@dataclass(frozen=True)
class MainTrack:
    """The main track of each of S images, in lines of pixels across the axis.

    A line is a column where the axis is closer to the rows' direction, and a row elsewhere, so that
    a track without gaps has a pixel in each line.

    Attributes:
        shape: (H, W) of the images.
        image: (P,) image of each pixel above threshold.
        row: (P,) its row.
        column: (P,) its column.
        value: (P,) its charge.
        is_main: (P,) whether it belongs to the cluster with the most charge.
        along: (P,) position along the axis from the cluster's centre, in pixels.
        across: (P,) signed distance from the axis.
        angle: (S,) of the axis to the columns' direction, in degrees; NaN for blank images.
        length: (S,) extent of the cluster along the axis.
        width: (S,) charge-weighted root mean square across the axis.
    """

    shape: tuple[int, int]
    image: Ints
    row: Ints
    column: Ints
    value: Floats
    is_main: Bools
    along: Floats
    across: Floats
    angle: Floats
    length: Floats
    width: Floats

    @cached_property
    def is_long(self) -> Bools:
        """(S,) whether the track is long enough to have ends."""
        return self.length >= SHORTEST

    @cached_property
    def is_slender(self) -> Bools:
        """(S,) whether the track is long and slender enough for a sagitta and gaps."""
        return (self.length >= SHORTEST_SLENDER) & (self.length >= SLENDER * self.thickness)

    @cached_property
    def line(self) -> Ints:
        """(P,) line of each pixel."""
        is_steep = np.abs(np.nan_to_num(self.angle)) > 45
        return np.where(is_steep[self.image], self.row, self.column)

    def table(self, values: Floats, mask: Bools) -> Floats:
        """Sum values (P,) over the pixels of each line, to (S, lines)."""
        lines = max(self.shape)
        index = self.image[mask] * lines + self.line[mask]
        sums: Floats = np.bincount(index, values[mask], len(self.length) * lines).astype(np.float64)
        return sums.reshape(-1, lines)

    @cached_property
    def charge(self) -> Floats:
        """(S, lines) charge of the cluster in each line."""
        return self.table(self.value, self.is_main)

    @cached_property
    def centre(self) -> tuple[Floats, Floats]:
        """(S, lines) charge-weighted positions along and across the axis; NaN without charge."""
        charge = np.where(self.charge > 0, self.charge, np.nan)
        along, across = (self.table(self.value * x, self.is_main) / charge for x in (self.along, self.across))
        return along, across

    @cached_property
    def thickness(self) -> Floats:
        """(S,) charge-weighted root mean square around the centre of each line.

        Unlike the width, it is small for bent and kinked tracks, too: only showers, blobs and pairs
        of tracks are thick.
        """
        return self._spread(self.is_main)

    def _spread(self, mask: Bools) -> Floats:
        """Return the thickness (S,) of the pixels (P,) in a mask."""
        image = self.image[mask]
        distance = self.across[mask] - self.centre[1][image, self.line[mask]]
        squares = np.bincount(image, self.value[mask] * distance**2, len(self.length))
        total = np.bincount(image, self.value[mask], len(self.length))
        return np.sqrt(squares / np.where(total > 0, total, np.nan))

    def sagitta(self) -> Floats:
        """Compute the sagitta (S,) in pixels: height of the arc over the chord, by a parabola.

        The parabola is fitted to the centre of each line. NaN for tracks that are not slender.
        """
        t, y = self.centre
        is_there = ~np.isnan(t)
        half = np.where(self.is_slender, (self.length - 1) / 2, 1.0)
        u, y = np.nan_to_num(t) / half[:, None], np.nan_to_num(y)
        powers = np.stack([np.where(is_there, u**k, 0).sum(1) for k in range(5)])
        matrix = np.stack([np.stack([powers[i + j] for j in range(3)], -1) for i in range(3)], -2)
        target = np.stack([np.where(is_there, y * u**k, 0).sum(1) for k in range(3)], -1)
        usable = self.is_slender & (is_there.sum(1) >= 8)
        matrix[~usable], target[~usable] = np.eye(3), 0
        curvature = np.linalg.solve(matrix, target[..., None])[:, 2, 0]
        return np.where(usable, np.abs(curvature), np.nan)

    def kinks(self) -> Floats:
        """Count the kinks (S,): places where the direction of 8 lines before and after differs.

        NaN for tracks that are not slender.
        """
        t, y = self.centre
        is_there = (~np.isnan(t)).astype(float)
        sums = [np.cumsum(np.pad(np.nan_to_num(x) * is_there, ((0, 0), (1, 0))), 1) for x in (is_there, t, y, t * t, t * y)]

        def direction(first: Ints, last: Ints) -> Floats:
            """Return angles (S, lines) of the lines fitted from ``first`` to before ``last``."""
            n, st, sy, stt, sty = (s[:, last] - s[:, first] for s in sums)
            spread = n * stt - st * st
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where((n >= ARM // 2) & (spread > 0), np.degrees(np.arctan2(n * sty - st * sy, spread)), np.nan)

        lines = np.arange(is_there.shape[1])
        before = direction(np.maximum(lines - ARM, 0), lines + 1)
        after = direction(lines, np.minimum(lines + ARM + 1, len(lines)))
        turn = np.abs(before - after)
        is_kink = (np.minimum(turn, 180 - turn) > KINK) & (is_there > 0)
        starts = is_kink & ~np.pad(is_kink, ((0, 0), (1, 0)))[:, :-1]
        return np.where(self.is_slender, starts.sum(1), np.nan)

    def gap_fraction(self) -> Floats:
        """Compute the fraction (S,) of lines without a pixel, between the track's ends.

        NaN for tracks that are not slender.
        """
        is_lit = self.charge > 0
        first, last = is_lit.argmax(1), is_lit.shape[1] - is_lit[:, ::-1].argmax(1)
        return np.where(self.is_slender, 1 - is_lit.sum(1) / (last - first), np.nan)

    @cached_property
    def ends(self) -> tuple[Bools, Bools]:
        """(S,) whether the first and the last end of the track lie inside the image."""
        height, width = self.shape
        border = np.minimum.reduce([self.row, height - 1 - self.row, self.column, width - 1 - self.column])
        far = np.where(self.is_main, border, height + width)
        inside = []
        for sign in (1, -1):
            position = np.where(self.is_main, sign * self.along, np.inf)
            first = np.full(len(self.length), np.inf)
            np.minimum.at(first, self.image, position)
            closest = np.full(len(self.length), np.inf)
            is_end = self.is_main & (position <= first[self.image] + 1.5)
            np.minimum.at(closest, self.image[is_end], far[is_end])
            inside.append((closest >= MARGIN) & np.isfinite(closest))
        return inside[0], inside[1]

    def ends_inside(self) -> Floats:
        """Count the ends (S,) inside the image; NaN for short tracks."""
        return np.where(self.is_long, np.add(*(end.astype(float) for end in self.ends)), np.nan)

    def opening(self) -> Floats:
        """Compute how much thicker (S,) one end is than the other; 1 if it does not open.

        The ratio of the thicknesses of the outer thirds, each with half a pixel added. NaN for
        short tracks.
        """
        third = np.where(self.is_long, self.length, np.nan)[self.image] / 6
        begin, end = (self._spread(part & self.is_main) + 0.5 for part in (self.along < -third, self.along > third))
        return np.maximum(begin, end) / np.minimum(begin, end)

    def charge_off_axis(self) -> Floats:
        """Compute the fraction (S,) of the cluster's charge beyond 3 pixels from the axis."""
        mask = self.is_main & (np.abs(self.across) > 3)
        total = np.bincount(self.image[self.is_main], self.value[self.is_main], len(self.length))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.is_long, np.bincount(self.image[mask], self.value[mask], len(self.length)) / total, np.nan)
