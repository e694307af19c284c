"""Area under the ROC curve (AUC) of two sets of scores, with its interval and its test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from pgen.metrics.results import LEVEL

Floats = npt.NDArray[np.float64]


def auc(generated: Floats, real: Floats) -> float:
    """Compute the area under the ROC curve.

    It is the fraction of pairs with a higher score of the generated image; ties count half.
    """
    return float(_placements(generated, real)[0].mean())


def auc_interval(generated: Floats, real: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the AUC over both sets of images, for given scores of images.

    Variance of DeLong et al., Biometrics 44 (1988) 837: with V the fraction of real images below a
    generated one, and W the fraction of generated images above a real one, it is
    var(V) / n_generated + var(W) / n_real.
    """
    above, below = _placements(generated, real)
    error = np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    half = stats.norm.isf(LEVEL / 2) * error
    return max(0.0, float(above.mean() - half)), min(1.0, float(above.mean() + half))


def auc_p_value(generated: Floats, real: Floats) -> float:
    """Return the two-sided p-value of the Mann-Whitney test, which allows for ties.

    It is the probability of an AUC as far from 0.5, if labels were given to scores at random.
    """
    if np.ptp(np.concatenate([generated, real])) == 0:
        return 1.0
    return float(stats.mannwhitneyu(generated, real, alternative="two-sided").pvalue)


def _placements(generated: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Return the fraction of pairs that each generated and each real image wins.

    A generated image wins with the higher score, a real one with the lower. A rank in the pool,
    less that among scores of its own set, counts the scores of the other set below it, ties as
    half.
    """
    ranks = stats.rankdata(np.concatenate([generated, real]))
    real_below = ranks[: len(generated)] - stats.rankdata(generated)
    generated_below = ranks[len(generated) :] - stats.rankdata(real)
    return real_below / len(real), 1 - generated_below / len(generated)
