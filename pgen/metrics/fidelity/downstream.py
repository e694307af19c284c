"""Downstream closure: does an analysis give the same results on generated and on real images?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray
from pgen.errors import ConfigError, format_list, option
from pgen.metrics.features.observables import robust_scales
from pgen.metrics.fidelity.marginals import bin_edges, compute_means, count_bins, measure_marginals
from pgen.metrics.fidelity.pooled_distances import marginal_distances
from pgen.metrics.inputs import CHUNK, Downstream, EvaluationSets
from pgen.metrics.results import Histogram, MetricResult, PerSet, draw_equal
from pgen.metrics.significance import Ints, compare

Floats = npt.NDArray[np.float64]

#: What is compared of each output, in the order of marginal_distances.
KINDS = ("W1", "KS")


def downstream(sets: EvaluationSets) -> MetricResult:
    """Compare the outputs of the user's own function of images, such as a reconstruction.

    The function receives zero-suppressed images (n, C, H, W) in charge units and returns a mapping
    of names to (n,) numbers, or an array (n, K) if it has an attribute ``names`` with K of them.
    NaN is an output that an image does not have. Each output is compared as the quantities of
    ``physics`` are: W1 in units of the spread of held-out images, and KS.

    Raises:
        ConfigError: There is no function, it fails, or its outputs are not such numbers.
    """
    if sets.downstream is None:
        raise ConfigError(f"downstream needs a function of images; name it by {option('downstream')}, as package.module:function.")
    function = sets.downstream
    names = list(_outputs(function, sets.generated[:1]))

    def rows(images: npt.NDArray) -> Floats:
        return np.concatenate([_rows(function, images[i : i + CHUNK], names) for i in range(0, len(images), CHUNK)])

    key = f"downstream {names}"
    values = PerSet(rows(sets.generated), sets.cached(key, rows, sets.train), sets.cached(key, rows, sets.held_out))
    scale = robust_scales(values.held_out)
    edges = [bin_edges(values.held_out[:, k]) for k in range(len(names))]
    rng = sets.rng("downstream")
    drawn = draw_equal(values, rng)
    distances = marginal_distances(np.concatenate(drawn), edges)

    def distance(a: Ints, b: Ints) -> Floats:
        w1, ks, _ = distances(a, b).reshape(len(a), 3, -1).swapaxes(0, 1)
        return np.concatenate([w1 / scale, ks], 1)

    compared = compare(distance, len(drawn.train), rng, permutations=sets.permutations)
    # The report may show a quantity of the same name.
    titles = [f"downstream: {name}" for name in names]
    return MetricResult(
        "downstream",
        tuple(measure_marginals(compared, names, KINDS)),
        {"function": _name(function), "outputs": names},
        {"mean": compute_means(values, names)},
        histograms=tuple(
            Histogram(title, "", edges[k], PerSet(*(count_bins(of_set[:, k], edges[k]) for of_set in values)))
            for k, title in enumerate(titles)
        ),
        per_image={title: values.generated[:, k] for k, title in enumerate(titles)},
    )


def _rows(function: Downstream, images: FloatArray, names: Sequence[str]) -> Floats:
    """Return the outputs (n, K) of images, in the order of ``names``."""
    outputs = _outputs(function, images)
    if set(outputs) != set(names):
        raise ConfigError(
            f"{_option(function)}: returned {format_list(outputs)} for some images and {format_list(names)} for others; return the same "
            "names for all, and NaN where an image has no such value."
        )
    return np.stack([outputs[name] for name in names], 1)


def _outputs(function: Downstream, images: FloatArray) -> dict[str, Floats]:
    """Return the outputs (n,) of images by name."""
    try:
        result = function(images)
        if not isinstance(result, Mapping):
            result = dict(zip(function.names, np.asarray(result).T, strict=True))  # type: ignore[attr-defined]
        outputs = {str(name): np.asarray(values, np.float64) for name, values in result.items()}
    except Exception as error:
        raise ConfigError(
            f"{_option(function)}: the function failed on {len(images)} images ({type(error).__name__}: {error}); expected a mapping of "
            "names to one number per image, or an array and an attribute `names` of the function."
        ) from error
    shapes = {name: values.shape for name, values in outputs.items() if values.shape != (len(images),)}
    if not outputs or shapes:
        what = f"{next(iter(shapes))} of shape {next(iter(shapes.values()))}" if shapes else "no output"
        raise ConfigError(f"{_option(function)}: returned {what} for {len(images)} images; return one number per image.")
    if infinite := [name for name, values in outputs.items() if np.isinf(values).any()]:
        raise ConfigError(f"{_option(function)}: returned infinite values of {infinite[0]}; return NaN where an image has no such value.")
    return outputs


def _option(function: Downstream) -> str:
    return option("downstream", _name(function))


def _name(function: Downstream) -> str:
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
