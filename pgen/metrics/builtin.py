"""The metrics that come with pgen, whose functions are imported when called: no torch here."""

from __future__ import annotations

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import MetricSpec


@hookimpl
def pgen_metrics() -> list[MetricSpec]:
    """List the metrics in the order in which `pgen evaluate all` runs them."""
    fidelity, memorisation = "pgen.metrics.fidelity", "pgen.metrics.memorisation"
    return [
        MetricSpec(
            "physics", "Charge, occupancy, positions, tracks: W1, KS and separation power of each.", f"{fidelity}.marginals:physics"
        ),
        MetricSpec(
            "profiles", "Charge along and across tracks, dQ/dx from the end, power spectrum, correlation.", f"{fidelity}.profiles:profiles"
        ),
        MetricSpec("fpd", "Frechet distance of physical features, for infinitely many images.", f"{fidelity}.frechet:fpd"),
        MetricSpec("kpd", "Kernel distance (unbiased MMD) of physical features.", f"{fidelity}.frechet:kpd"),
        MetricSpec("ks", "Kolmogorov-Smirnov distance of features: mean, and of random projections.", f"{fidelity}.kolmogorov_smirnov:ks"),
        MetricSpec(
            "nplm",
            "Likelihood ratio of features, learnt by kernel logistic regression, with a score per image.",
            f"{fidelity}.likelihood_ratio:nplm",
        ),
        MetricSpec("wasserstein", "Exact and sliced Wasserstein and energy distance of pixels.", f"{fidelity}.wasserstein:wasserstein"),
        MetricSpec("prdc", "Precision, recall, density and coverage on physical features.", f"{fidelity}.prdc:prdc"),
        MetricSpec(
            "c2st", "Can a classifier tell generated from real? A CNN on images, boosted trees on features.", f"{fidelity}.classifier:c2st"
        ),
        MetricSpec("memorisation", "Are generated images copies of training images?", f"{memorisation}.metric:memorisation"),
        MetricSpec(
            "downstream", "Does your own reconstruction give the same results on generated images?", f"{fidelity}.downstream:downstream"
        ),
        MetricSpec("closure", "Do labelled images look like their labels?", f"{fidelity}.closure:closure"),
    ]
