"""A TOY simulation of single particles in liquid argon, for tests and tutorials, NOT for physics.

Included: Bethe energy loss with straggling and delta rays, Highland scattering, bremsstrahlung,
    pair production and Compton scattering (constant photon path), modified Box recombination,
    diffusion, electronics response, noise, zero suppression. Left out: hadronic interactions,
    decays, cosmic rays, wire response and induction planes, field distortions, electron lifetime. A
    photon converts at its vertex.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from pgen.data.images import MAX_IMAGES, SparseImageSet
from pgen.data.processing.parallel import parallel_map
from pgen.data.simulation import energy_loss as physics
from pgen.data.simulation.readout import render_image
from pgen.data.simulation.transport import Rays, transport
from pgen.data.sparse import SparseImages
from pgen.errors import ConfigError
from pgen.utils.spelling import parse_size

#: PDG number, mass in MeV, and default momentum range in MeV/c, for tracks and showers of a few to
#: some tens of cm.
PARTICLES = {
    "e": (11, physics.ELECTRON_MASS, (50.0, 500.0)),
    "gamma": (22, 0.0, (50.0, 500.0)),
    "mu": (13, 105.6584, (80.0, 400.0)),
    "pi": (211, 139.5704, (90.0, 400.0)),
    "p": (2212, 938.2721, (330.0, 650.0)),
}
#: Images simulated together from one seed, so that image i does not depend on n.
BLOCK = 256
#: Most rows or columns, for which the tables of indices are made.
MAX_SIDE = 10**5
#: ADC per electron. A minimum-ionising muon gives 54 ADC along 0.3 cm (median; the mean is 59, with
#: delta rays).
GAIN = 1 / 310
#: cm, MicroBooNE.
MAX_DRIFT = 256.0


@dataclass(frozen=True)
class Settings:
    """Arguments of :func:`simulate` other than the number of images."""

    size: tuple[int, int] = (64, 64)
    seed: int = 0
    particles: Sequence[str] = tuple(PARTICLES)
    momentum: tuple[float, float] | None = None
    pitch_cm: float = 0.3
    noise: float = 1.5
    threshold: float = 10.0

    def check(self, n: int) -> None:
        """Validate the settings for ``n`` images.

        Raises:
            ConfigError: If one does not fit.
        """
        if n > MAX_IMAGES or max(self.size) > MAX_SIDE:
            raise ConfigError(
                f"simulate: {n} images of {self.size[0]}x{self.size[1]} are too many or too large; split them over several files."
            )
        unknown = [particle for particle in self.particles if particle not in PARTICLES]
        if unknown or not self.particles:
            raise ConfigError(f"simulate: particles {', '.join(unknown) or 'none'} are unknown; expected some of {'+'.join(PARTICLES)}.")
        if self.momentum is not None and not 1 <= self.momentum[0] <= self.momentum[1] <= 1e5:
            low, high = self.momentum
            raise ConfigError(f"simulate: momentum {low:g}-{high:g} does not fit; expected LOW-HIGH from 1 to 100000 MeV/c.")
        for name, value, least in (
            ("n", n, 1),
            ("rows", self.size[0], 8),
            ("columns", self.size[1], 8),
            ("pitch_cm", self.pitch_cm, 0.01),
            ("noise", self.noise, 0),
            ("threshold", self.threshold, 0),
            ("seed", self.seed, 0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise ConfigError(f"simulate: {name}={value} does not fit; expected at least {least}.")


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
    """Simulate ``n`` images (1, H, W) of one particle each, in whole ADC counts.

    Rows are ticks and columns wires, ``pitch_cm`` apart, which the geometry says in cm. The same
    arguments give the same bytes, and image i is the same for every ``n``.

    Args:
        n: Number of images.
        size: Rows and columns.
        seed: Seed of all random numbers.
        particles: Names from :data:`PARTICLES`, equally likely.
        momentum: (low, high) in MeV/c, between which momenta are uniform; by default a range for
            each particle.
        pitch_cm: Length of a pixel.
        noise: RMS in ADC.
        threshold: Pixels below it (ADC) become 0.

    Returns:
        The images, with the labels ``pdg`` and ``momentum`` (MeV/c).

    Raises:
        ConfigError: If an argument does not fit.
    """
    settings = Settings((size, size) if isinstance(size, int) else size, seed, particles, momentum, pitch_cm, noise, threshold)
    parts = list(simulate_parts(n, settings))
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}
    pixels = SparseImages.concatenate([part.read_sparse(range(len(part))) for part in parts])
    geometry = np.concatenate([part.geometry_or_nan() for part in parts])
    events = np.concatenate([part.events for part in parts])
    return SparseImageSet(pixels, parts[0].shape, name="simulate", events=events, labels=labels, geometry=geometry)


def simulate_parts(n: int, settings: Settings, *, processes: int = 1, start: int = 0) -> Iterator[SparseImageSet]:
    """Simulate the images of :func:`simulate` from ``start`` (k * 256) on, in sets of up to 256.

    ``processes`` share the work, which does not change the images.
    """
    settings.check(n)
    calls = [(settings, first // BLOCK, min(BLOCK, n - first)) for first in range(start, n, BLOCK)]
    yield from parallel_map(_simulate_block, calls, min(processes, len(calls)))


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
    """Open the source ``simulate:n=2000,size=64x96,seed=1,particles=e+mu,momentum=100-300``."""
    try:
        rows, columns = parse_size(size)
    except ValueError as error:
        raise ConfigError(f"{name}: size={size} cannot be read, {error}.") from None
    try:
        span = None if momentum is None else tuple(float(edge) for edge in momentum.split("-"))
    except ValueError:
        span = ()
    if span is not None and len(span) != 2:
        raise ConfigError(f"{name}: momentum={momentum} cannot be read; expected LOW-HIGH in MeV/c as in momentum=100-300.")
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


def _simulate_block(settings: Settings, block: int, keep: int) -> SparseImageSet:
    """Simulate the first ``keep`` of the BLOCK images of a block, which share one seed."""
    rng, pitch = np.random.default_rng([settings.seed, block]), settings.pitch_cm
    species = rng.integers(len(settings.particles), size=BLOCK)
    kinds = (PARTICLES[particle] for particle in settings.particles)
    pdg, mass, spans = (np.array(column) for column in zip(*kinds, strict=True))
    low, high = (spans if settings.momentum is None else np.broadcast_to(settings.momentum, spans.shape))[species].T
    p = rng.uniform(low, high)
    kinetic = np.sqrt(p**2 + mass[species] ** 2) - mass[species]

    extent = (settings.size[0] * pitch, settings.size[1] * pitch)
    direction = rng.standard_normal((BLOCK, 3))
    # Detectors are longer than high, and beams go along them: fewer tracks point out of the image
    # plane.
    direction[:, 1] *= 0.5
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    # The vertex is behind the centre, so that most of the particle is in the image.
    fraction = 0.5 + rng.uniform(-0.2, 0.2, (BLOCK, 3)) - 0.25 * direction
    position = fraction * [extent[0], 0.0, extent[1]]

    rays = Rays(np.arange(BLOCK), mass[species].astype(float), kinetic, position, direction)
    image, position, energy, loss = transport(rays, extent, pitch / 2, rng)
    charge = energy / physics.ION_WORK * physics.recombination(loss) * GAIN
    drift = rng.uniform(0, MAX_DRIFT, BLOCK)

    order = np.argsort(image, kind="stable")
    ends = np.searchsorted(image[order], np.arange(1, BLOCK))
    deposits = zip(np.split(position[order][:, [0, 2]] / pitch, ends), np.split(charge[order], ends), drift, strict=True)
    images = []
    for deposit in islice(deposits, keep):
        pixels = render_image(*deposit, settings.size, pitch)
        pixels = np.rint(pixels + settings.noise * rng.standard_normal(settings.size))
        images.append(SparseImages.from_dense(np.where(pixels >= settings.threshold, pixels, 0)[None]))
    number = block * BLOCK + np.arange(keep)
    return SparseImageSet(
        SparseImages.concatenate(images),
        (1, *settings.size),
        name="simulate",
        ids=number,
        events=np.array([f"simulate/{settings.seed}/{k}" for k in number]),
        labels={"pdg": pdg[species][:keep], "momentum": p[:keep]},
        geometry=np.tile([0, 0, pitch, pitch], (keep, 1, 1)),
    )
