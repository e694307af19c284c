"""Mean profiles of images: charge along and across tracks, power spectrum, charge correlation."""

from __future__ import annotations

import numpy as np

from pgen.metrics.features.observables import robust_scales
from pgen.metrics.features.profiles import compute_profiles, join_profiles, mean_and_error
from pgen.metrics.fidelity.pooled_distances import Floats, profile_distance
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, PerSet, Profile, draw_equal
from pgen.metrics.significance import Ints, PooledDistance, compare

#: A difference of the means that does not matter, in units of the spread over images.
TOLERANCE = 0.1


def profiles(sets: EvaluationSets) -> MetricResult:
    """Compare the mean profiles of :func:`pgen.metrics.features.profiles.compute_profiles`.

    The distance is the root mean square over the bins of a profile of the difference between means,
    in units of the spread over held-out images.
    """
    rng = sets.rng("profiles")
    in_chunks = sets.chunked(lambda images: compute_profiles(images, sets.threshold))
    of_sets = [[join_profiles(chunks) for chunks in zip(*parts, strict=True)] for parts in in_chunks]
    drawn = draw_equal(PerSet(*(np.arange(len(getattr(sets, name))) for name in PerSet._fields)), rng)
    channels = sets.train.shape[1]
    names, distances, curves = [], [], []
    for k, profile in enumerate(of_sets[-1]):
        for channel in range(channels):
            values = PerSet(*(of_set[k].values[:, channel] for of_set in of_sets))
            pool = np.concatenate([of_set[indices] for of_set, indices in zip(values, drawn, strict=True)])
            names.append(f"plane {channel}: {profile.name}" if channels > 1 else profile.name)
            distances.append(profile_distance(pool, robust_scales(values.held_out)))
            means, errors = zip(*map(mean_and_error, values), strict=True)
            y_label = profile.y_label.replace("charge / pixel", f"{sets.unit} / pixel")
            curves.append(Profile(names[-1], profile.x_label, y_label, profile.x, PerSet(*means), PerSet(*errors)))
    compared = compare(_join(distances), len(drawn.train), rng, permutations=sets.permutations)
    measures = tuple(compared.measurement(k, name, tolerance=TOLERANCE) for k, name in enumerate(names))
    return MetricResult("profiles", measures, {"threshold": sets.threshold}, profiles=tuple(curves))


def _join(distances: list[PooledDistance]) -> PooledDistance:
    def joined(a: Ints, b: Ints) -> Floats:
        return np.concatenate([distance(a, b) for distance in distances], 1)

    return joined
