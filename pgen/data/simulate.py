"""A TOY simulator of single particles in a liquid-argon detector: for tests, tutorials and benchmarks, NOT for physics results.

What it has: Bethe energy loss with straggling and delta rays, Highland scattering, bremsstrahlung, pairs and Compton scattering (constant
photon path), modified Box recombination, diffusion, electronics response, noise, zero suppression. What it leaves out: hadronic
interactions, decays, cosmic rays, wire response and induction planes, field distortions, electron lifetime.
A photon converts at its vertex.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtr

from pgen.data import physics
from pgen.data.cascade import Rays, transport
from pgen.data.images import ArrayImages, FloatArray
from pgen.errors import UserError

#: name -> (PDG number, mass in MeV, default momentum range in MeV/c: tracks and showers a few to some tens of cm long)
PARTICLES = {
    "e": (11, physics.ELECTRON_MASS, (50.0, 500.0)),
    "gamma": (22, 0.0, (50.0, 500.0)),
    "mu": (13, 105.6584, (80.0, 400.0)),
    "pi": (211, 139.5704, (90.0, 400.0)),
    "p": (2212, 938.2721, (330.0, 650.0)),
}
BLOCK = 256  #: images simulated together, from one seed: image i does not depend on n
GAIN = 1 / 310  #: ADC for one electron: a minimum-ionising track along 0.3 cm gives about 60 ADC
DRIFT_SPEED = 0.11  #: cm / us, MicroBooNE
LONGEST_DRIFT = 256.0  #: cm, MicroBooNE
#: cm2 / us, longitudinal and transverse diffusion: MicroBooNE, JINST 16 P09025 (2021), and its transverse counterpart
DIFFUSION = (3.7e-6, 5.9e-6)
SHAPING = 0.15  #: cm; width along the drift that the electronics' shaping leaves


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
    progress: Callable[[int, int], None] | None = None,
) -> ArrayImages:
    """``n`` images of one particle each, whole ADC counts, (1, rows, columns) with row = tick and column = wire, both ``pitch_cm`` apart.

    ``particles``: e, gamma, mu, pi, p, equally likely. ``momentum`` (low, high) in MeV/c is drawn evenly; the default is a range for each
    particle. ``noise`` is the rms in ADC; pixels below ``threshold`` ADC become 0. Labels: ``pdg`` (int), ``momentum`` (MeV/c).
    The same arguments give the same bytes, and image i is the same for every n. ``progress(done, total)``. UserError on bad arguments.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    _check(n, rows, columns, particles, momentum, pitch_cm, noise, threshold, seed)
    images, pdgs, momenta = [], [], []
    for start in range(0, n, BLOCK):
        rng = np.random.default_rng([seed, start // BLOCK])
        pixels, pdg, p = _block(rng, (rows, columns), particles, momentum, pitch_cm, noise, threshold)
        keep = min(BLOCK, n - start)
        images.append(pixels[:keep])
        pdgs.append(pdg[:keep])
        momenta.append(p[:keep])
        if progress:
            progress(start + keep, n)
    return ArrayImages(np.concatenate(images), name="simulate", labels={"pdg": np.concatenate(pdgs), "momentum": np.concatenate(momenta)})


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
) -> ArrayImages:
    """The source ``simulate:n=2000,size=64,seed=1,particles=e+mu,momentum=100-300``; size may be ROWSxCOLUMNS."""
    try:
        edges = [int(edge) for edge in size.split("x")]
        rows, columns = edges * 2 if len(edges) == 1 else edges
    except ValueError:
        raise UserError(f"{name}: size={size} cannot be read, wanted a number or ROWSxCOLUMNS as in size=64 or size=64x96.") from None
    try:
        span = None if momentum is None else tuple(float(edge) for edge in momentum.split("-"))
    except ValueError:
        span = ()
    if span is not None and len(span) != 2:
        raise UserError(f"{name}: momentum={momentum} cannot be read, wanted LOW-HIGH in MeV/c as in momentum=100-300.")
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


def _check(
    n: int,
    rows: int,
    columns: int,
    particles: Sequence[str],
    momentum: tuple[float, float] | None,
    pitch_cm: float,
    noise: float,
    threshold: float,
    seed: int,
) -> None:
    unknown = [particle for particle in particles if particle not in PARTICLES]
    if unknown or not particles:
        raise UserError(f"simulate: particles {', '.join(unknown) or 'none'} are not known, wanted some of {'+'.join(PARTICLES)}.")
    if momentum is not None and not 1 <= momentum[0] <= momentum[1] <= 1e5:
        raise UserError(f"simulate: momentum {momentum[0]:g}-{momentum[1]:g} does not fit, wanted LOW-HIGH from 1 to 100000 MeV/c.")
    for what, value, least in (
        ("n", n, 1),
        ("rows", rows, 8),
        ("columns", columns, 8),
        ("pitch_cm", pitch_cm, 0.01),
        ("noise", noise, 0),
        ("threshold", threshold, 0),
        ("seed", seed, 0),
    ):
        if not (math.isfinite(value) and value >= least):
            raise UserError(f"simulate: {what}={value} does not fit, wanted at least {least}.")


def _block(
    rng: np.random.Generator,
    size: tuple[int, int],
    particles: Sequence[str],
    momentum: tuple[float, float] | None,
    pitch: float,
    noise: float,
    threshold: float,
) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """BLOCK images (BLOCK, rows, columns) with their PDG numbers and momenta."""
    species = rng.integers(len(particles), size=BLOCK)
    pdg, mass, spans = (np.array(column) for column in zip(*(PARTICLES[particle] for particle in particles), strict=True))
    low, high = (spans if momentum is None else np.broadcast_to(momentum, spans.shape))[species].T
    p = rng.uniform(low, high)
    kinetic = np.sqrt(p**2 + mass[species] ** 2) - mass[species]

    extent = (size[0] * pitch, size[1] * pitch)
    direction = rng.standard_normal((BLOCK, 3))
    direction[:, 1] *= 0.5  # detectors are longer than high and beams go along them: fewer tracks point across the picture
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    # the vertex lies behind the centre, so that most of the particle is in the picture
    where = 0.5 + rng.uniform(-0.2, 0.2, (BLOCK, 3)) - 0.25 * direction
    position = where * [extent[0], 0.0, extent[1]]

    rays = Rays(np.arange(BLOCK), mass[species].astype(float), kinetic, position, direction)
    image, at, energy, loss = transport(rays, extent, pitch / 2, rng)
    charge = energy / physics.ION_WORK * physics.recombination(loss) * GAIN
    pixels = _project(image, at[:, [0, 2]] / pitch, charge, size)
    pixels = _diffuse(pixels, rng.uniform(0, LONGEST_DRIFT, BLOCK), pitch)
    pixels = np.rint(pixels + noise * rng.standard_normal(pixels.shape))
    return np.where(pixels >= threshold, pixels, 0).astype(np.float32), pdg[species], p


def _project(image: np.ndarray, at: np.ndarray, charge: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Charge summed in pixels, each deposit shared between the four nearest pixel centres, so that steps leave no pattern."""
    corner = np.floor(at - 0.5).astype(np.int64)
    share = at - 0.5 - corner
    flat = np.zeros(BLOCK * size[0] * size[1])
    for dr in (0, 1):
        for dc in (0, 1):
            r, c = corner[:, 0] + dr, corner[:, 1] + dc
            weight = np.abs(1 - dr - share[:, 0]) * np.abs(1 - dc - share[:, 1]) * charge
            inside = (r >= 0) & (r < size[0]) & (c >= 0) & (c < size[1])
            index = (image[inside] * size[0] + r[inside]) * size[1] + c[inside]
            flat += np.bincount(index, weight[inside], minlength=flat.size)
    return flat.reshape(BLOCK, *size)


def _diffuse(pixels: np.ndarray, drift: np.ndarray, pitch: float) -> np.ndarray:
    """Each image blurred by the diffusion over its drift length (cm); along the drift by the electronics' shaping too."""
    for axis, constant, more in ((1, DIFFUSION[0], SHAPING), (2, DIFFUSION[1], 0.0)):
        width = np.sqrt(2 * constant * drift / DRIFT_SPEED + more**2) / pitch + 1e-6
        edges = np.arange(-2, 4) - 0.5
        taps = np.diff(ndtr(edges[None] / width[:, None]), axis=1)
        padded = np.pad(pixels, [(2, 2) if a == axis else (0, 0) for a in range(3)])
        extent = pixels.shape[axis]
        views = (padded[:, k : k + extent] if axis == 1 else padded[:, :, k : k + extent] for k in range(5))
        pixels = sum(tap[:, None, None] * view for tap, view in zip(taps.T, views, strict=True))
    return pixels
