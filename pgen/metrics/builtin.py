"""The metrics that pgen brings along. Their functions are imported when they are used: no torch here."""

from __future__ import annotations

from pgen.plugins.hookspecs import hookimpl
from pgen.plugins.specs import MetricSpec


@hookimpl
def pgen_metrics() -> list[MetricSpec]:
    """In the order in which `pgen evaluate all` runs them."""
    home = "pgen.metrics"
    return [
        MetricSpec("physics", "Charge, occupancy, positions, tracks: W1, KS and separation power of each.", f"{home}.physics:physics"),
        MetricSpec("fpd", "Frechet distance of physical features, for infinitely many images.", f"{home}.frechet:fpd"),
        MetricSpec("kpd", "Kernel distance (unbiased MMD) of physical features.", f"{home}.frechet:kpd"),
        MetricSpec("wasserstein", "Exact and sliced Wasserstein and energy distance of pixels.", f"{home}.wasserstein:wasserstein"),
        MetricSpec("prdc", "Precision, recall, density and coverage on physical features.", f"{home}.prdc:prdc"),
        MetricSpec("c2st", "Can a classifier tell generated from real? A network on images, trees on features.", f"{home}.c2st:c2st"),
        MetricSpec("memorisation", "Are generated images copies of training images?", f"{home}.copying:memorisation"),
        MetricSpec("closure", "Do labelled images look like their labels?", f"{home}.closure:closure"),
    ]
