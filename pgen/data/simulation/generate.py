"""A TOY simulator of single particles in a liquid-argon detector: for tests, tutorials and benchmarks, NOT for physics results.

What it has: Bethe energy loss with straggling and delta rays, Highland scattering, bremsstrahlung, pairs and Compton scattering (constant
photon path), modified Box recombination, diffusion, electronics response, noise, zero suppression. What it leaves out: hadronic
interactions, decays, cosmic rays, wire response and induction planes, field distortions, electron lifetime.
A photon converts at its vertex.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from pgen.data.images import MOST_IMAGES, SparseImageSet, geometry
from pgen.data.processing.parallel import parallel_map
from pgen.data.simulation import energy_loss as physics
from pgen.data.simulation.readout import picture
from pgen.data.simulation.transport import Rays, transport
from pgen.data.sparse import SparseImages
from pgen.errors import PgenError
from pgen.utils.formats import parse_size

#: name -> (PDG number, mass in MeV, default momentum range in MeV/c: tracks and showers a few to some tens of cm long)
PARTICLES = {
    "e": (11, physics.ELECTRON_MASS, (50.0, 500.0)),
    "gamma": (22, 0.0, (50.0, 500.0)),
    "mu": (13, 105.6584, (80.0, 400.0)),
    "pi": (211, 139.5704, (90.0, 400.0)),
    "p": (2212, 938.2721, (330.0, 650.0)),
}
BLOCK = 256  #: images simulated together, from one seed: image i does not depend on n
MOST_PIXELS = 10**5  #: of a side: what its tables of indices are made for
GAIN = 1 / 310  #: ADC for one electron: a minimum-ionising muon gives 54 ADC along 0.3 cm (median; 59 in the mean, with its delta rays)
LONGEST_DRIFT = 256.0  #: cm, MicroBooNE


@dataclass(frozen=True)
class Settings:
    """What :func:`simulate` takes besides the number of images."""

    size: tuple[int, int] = (64, 64)
    seed: int = 0
    particles: Sequence[str] = tuple(PARTICLES)
    momentum: tuple[float, float] | None = None
    pitch_cm: float = 0.3
    noise: float = 1.5
    threshold: float = 10.0

    def check(self, n: int) -> None:
        """UserError where something does not fit."""
        if n > MOST_IMAGES or max(self.size) > MOST_PIXELS:
            raise PgenError(
                f"simulate: {n} images of {self.size[0]}x{self.size[1]} are too many or too large; split them over several files."
            )
        unknown = [particle for particle in self.particles if particle not in PARTICLES]
        if unknown or not self.particles:
            raise PgenError(f"simulate: particles {', '.join(unknown) or 'none'} are not known, wanted some of {'+'.join(PARTICLES)}.")
        if self.momentum is not None and not 1 <= self.momentum[0] <= self.momentum[1] <= 1e5:
            low, high = self.momentum
            raise PgenError(f"simulate: momentum {low:g}-{high:g} does not fit, wanted LOW-HIGH from 1 to 100000 MeV/c.")
        for what, value, least in (
            ("n", n, 1),
            ("rows", self.size[0], 8),
            ("columns", self.size[1], 8),
            ("pitch_cm", self.pitch_cm, 0.01),
            ("noise", self.noise, 0),
            ("threshold", self.threshold, 0),
            ("seed", self.seed, 0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise PgenError(f"simulate: {what}={value} does not fit, wanted at least {least}.")


def simulate(
    n: int,
    *,
    size: int | tuple[int, int] = 64,
    seed: int = 0,
    particles: Sequence[str] = tuple(PARTICLES),
    momentum: tuple[float, float] | None = None,
    pitch_cm: float = 0.3,
    noise: float = 1.5,
    threshold: float = 10.0,
) -> SparseImageSet:
    """``n`` images of one particle each, whole ADC counts, (1, rows, columns) with row = tick and column = wire, both ``pitch_cm`` apart,
    which their geometry says in cm.

    ``particles``: e, gamma, mu, pi, p, equally likely. ``momentum`` (low, high) in MeV/c is drawn evenly; the default is a range for each
    particle. ``noise`` is the rms in ADC; pixels below ``threshold`` ADC become 0. Labels: ``pdg`` (int), ``momentum`` (MeV/c).
    The same arguments give the same bytes, and image i is the same for every n. UserError on bad arguments.
    """
    settings = Settings((size, size) if isinstance(size, int) else size, seed, particles, momentum, pitch_cm, noise, threshold)
    parts = list(simulate_parts(n, settings))
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}
    lit, places = SparseImages.join([part.lit(range(len(part))) for part in parts]), np.concatenate([geometry(part) for part in parts])
    events = np.concatenate([part.events for part in parts])
    return SparseImageSet(lit, parts[0].shape, name="simulate", events=events, labels=labels, geometry=places)


def simulate_parts(n: int, settings: Settings, *, processes: int = 1, start: int = 0) -> Iterator[SparseImageSet]:
    """The images of :func:`simulate` from ``start`` on, a multiple of 256, up to 256 at a time.

    Made by ``processes`` processes, which does not change them.
    """
    settings.check(n)
    calls = [(settings, first // BLOCK, min(BLOCK, n - first)) for first in range(start, n, BLOCK)]
    yield from parallel_map(_part, calls, min(processes, len(calls)))


def open_simulated(
    name: str,
    _data_root: object = None,
    *,
    n: int = 1000,
    size: str = "64",
    seed: int = 0,
    particles: str = "+".join(PARTICLES),
    momentum: str | None = None,
    pitch_cm: float = 0.3,
    noise: float = 1.5,
    threshold: float = 10.0,
) -> SparseImageSet:
    """The source ``simulate:n=2000,size=64,seed=1,particles=e+mu,momentum=100-300``; size may be ROWSxCOLUMNS."""
    try:
        rows, columns = parse_size(size)
    except ValueError as error:
        raise PgenError(f"{name}: size={size} cannot be read, {error}.") from None
    try:
        span = None if momentum is None else tuple(float(edge) for edge in momentum.split("-"))
    except ValueError:
        span = ()
    if span is not None and len(span) != 2:
        raise PgenError(f"{name}: momentum={momentum} cannot be read, wanted LOW-HIGH in MeV/c as in momentum=100-300.")
    images = simulate(
        n,
        size=(rows, columns),
        seed=seed,
        particles=particles.split("+"),
        momentum=None if span is None else (span[0], span[1]),
        pitch_cm=pitch_cm,
        noise=noise,
        threshold=threshold,
    )
    images.name, images.about = name, {"format": "simulated"}
    return images


def _part(settings: Settings, block: int, keep: int) -> SparseImageSet:
    """The first ``keep`` of the BLOCK images of a block, which come from one seed."""
    rng, pitch = np.random.default_rng([settings.seed, block]), settings.pitch_cm
    species = rng.integers(len(settings.particles), size=BLOCK)
    kinds = (PARTICLES[particle] for particle in settings.particles)
    pdg, mass, spans = (np.array(column) for column in zip(*kinds, strict=True))
    low, high = (spans if settings.momentum is None else np.broadcast_to(settings.momentum, spans.shape))[species].T
    p = rng.uniform(low, high)
    kinetic = np.sqrt(p**2 + mass[species] ** 2) - mass[species]

    extent = (settings.size[0] * pitch, settings.size[1] * pitch)
    direction = rng.standard_normal((BLOCK, 3))
    direction[:, 1] *= 0.5  # detectors are longer than high and beams go along them: fewer tracks point across the picture
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    # the vertex lies behind the centre, so that most of the particle is in the picture
    where = 0.5 + rng.uniform(-0.2, 0.2, (BLOCK, 3)) - 0.25 * direction
    position = where * [extent[0], 0.0, extent[1]]

    rays = Rays(np.arange(BLOCK), mass[species].astype(float), kinetic, position, direction)
    image, at, energy, loss = transport(rays, extent, pitch / 2, rng)
    charge = energy / physics.ION_WORK * physics.recombination(loss) * GAIN
    drift = rng.uniform(0, LONGEST_DRIFT, BLOCK)

    order = np.argsort(image, kind="stable")
    ends = np.searchsorted(image[order], np.arange(1, BLOCK))
    deposits = zip(np.split(at[order][:, [0, 2]] / pitch, ends), np.split(charge[order], ends), drift, strict=True)
    lit = []
    for each in islice(deposits, keep):
        pixels = picture(*each, settings.size, pitch)
        pixels = np.rint(pixels + settings.noise * rng.standard_normal(settings.size))
        lit.append(SparseImages.of(np.where(pixels >= settings.threshold, pixels, 0)[None]))
    number = block * BLOCK + np.arange(keep)
    labels = {"pdg": pdg[species][:keep], "momentum": p[:keep]}
    flat_index = np.tile([0, 0, pitch, pitch], (keep, 1, 1))
    events = np.array([f"simulate/{settings.seed}/{k}" for k in number])
    return SparseImageSet(
        SparseImages.join(lit), (1, *settings.size), name="simulate", ids=number, events=events, labels=labels, geometry=flat_index
    )
