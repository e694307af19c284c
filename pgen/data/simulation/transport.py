"""The toy's transport: charged particles in steps through liquid argon, with delta rays and electromagnetic showers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from pgen.data.simulation import energy_loss as physics
from pgen.data.simulation.energy_loss import ELECTRON_MASS, RADIATION_LENGTH, Floats

STOP = 0.3  #: MeV; a particle slower than this deposits what it has
DELTA_CUT = 0.7  #: MeV; knock-on electrons above it are followed, below it they are part of the mean loss
SOFTEST = 1.0  #: MeV; photons below it are left out
PHOTON_PATH = 9 / 7 * RADIATION_LENGTH  #: cm; right for pair production, and within a third for Compton scattering above 1 MeV
CROSSOVER = 13.0  #: MeV; where pair production and Compton scattering are equally likely in argon


@dataclass
class Rays:
    """M particles: all arrays have one row each."""

    image: np.ndarray  #: (M,) which image it belongs to
    mass: Floats  #: (M,) MeV; 0 is a photon
    kinetic: Floats  #: (M,) MeV
    position: Floats  #: (M, 3) cm: drift (row), vertical, beam (column)
    direction: Floats  #: (M, 3) unit vectors
    travelled: Floats = field(default_factory=lambda: np.zeros(0))  #: (M,) cm, by default 0; scattering depends on it

    def __post_init__(self) -> None:
        if len(self.travelled) != len(self.image):
            self.travelled = np.zeros(len(self.image))

    def take(self, index: np.ndarray) -> Rays:
        return Rays(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def join(parts: list[Rays]) -> Rays:
        return Rays(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rays)))

    def __len__(self) -> int:
        return len(self.image)


def transport(rays: Rays, extent: tuple[float, float], step: float, rng: np.random.Generator) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Follows all particles to their end or out of the picture [0, extent) cm.

    Returns (image (K,), position (K, 3), energy MeV (K,), mean dE/dx MeV/cm (K,)) of all deposits. Photons among ``rays`` convert where
    they are.
    """
    deposits = []
    photons = rays.mass == 0
    alive = Rays.join([rays.take(~photons), _convert(rays.take(photons), extent, rng, fly=False)])
    while len(alive):
        loss = physics.energy_loss(alive.kinetic, alive.mass, DELTA_CUT)
        length = np.minimum(step, 0.2 * alive.kinetic / loss)  # a fifth of the energy at most: the end of a track needs short steps
        # all of a step is as in its middle, which errs by the third power of its length (the midpoint rule)
        middle = alive.kinetic - 0.5 * length * loss
        loss = physics.energy_loss(middle, alive.mass, DELTA_CUT)
        _, beta, _ = physics.speeds(middle, alive.mass)
        # straggling below the cut: Bohr's variance, with the gamma distribution's shape to keep it positive
        mean, variance = loss * length, physics.XI / beta**2 * length * np.minimum(DELTA_CUT, physics.max_transfer(middle, alive.mass))
        lost = np.minimum(rng.gamma(mean**2 / variance) * variance / mean, alive.kinetic)
        stopped = alive.kinetic - lost < STOP
        lost = np.where(stopped, alive.kinetic, lost)
        half = 0.5 * length[:, None]
        alive.position = alive.position + half * alive.direction
        deposits.append((alive.image, alive.position, lost, loss))
        alive.direction = deflect(alive.direction, physics.scattering_angle(middle, alive.mass, length, alive.travelled), rng)
        alive.position = alive.position + half * alive.direction
        alive.travelled = alive.travelled + length
        alive.kinetic = alive.kinetic - lost
        inside = _inside(alive.position, extent)
        length, alive = length[~stopped & inside], alive.take(~stopped & inside)
        deltas = _knock_on(alive, length, rng)
        radiated = _convert(_radiate(alive, length, rng), extent, rng, fly=True)
        alive = Rays.join([alive, deltas, radiated])
        alive = alive.take(alive.kinetic > STOP)
    image, position, energy, density = (np.concatenate(each) for each in zip(*deposits, strict=True))
    return image, position, energy, density


def deflect(direction: Floats, angle: Floats, rng: np.random.Generator) -> Floats:
    """Directions turned by a Gaussian angle of rms ``angle`` in each of the two planes across them."""
    kick = rng.standard_normal(direction.shape)
    kick -= np.sum(kick * direction, 1, keepdims=True) * direction  # what is left is Gaussian in the plane across
    turned = direction + angle[:, None] * kick
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def _turn(direction: Floats, cosine: Floats, rng: np.random.Generator) -> Floats:
    """Directions turned by a given angle, at a random azimuth."""
    kick = rng.standard_normal(direction.shape)
    kick -= np.sum(kick * direction, 1, keepdims=True) * direction
    kick /= np.linalg.norm(kick, axis=1, keepdims=True)
    cosine = np.clip(cosine, -1, 1)[:, None]
    return cosine * direction + np.sqrt(1 - cosine**2) * kick


def _inside(position: Floats, extent: tuple[float, float]) -> np.ndarray:
    rows, columns = position[:, 0], position[:, 2]
    return (rows >= 0) & (rows < extent[0]) & (columns >= 0) & (columns < extent[1])


def _knock_on(alive: Rays, length: Floats, rng: np.random.Generator) -> Rays:
    """Delta rays over a step: dN/dT ~ 1/T^2 above the cut (PDG), emitted at the angle of a two-body collision."""
    greatest = np.where(alive.mass == ELECTRON_MASS, alive.kinetic / 2, physics.max_transfer(alive.kinetic, alive.mass))
    _, beta, _ = physics.speeds(alive.kinetic, alive.mass)
    rate = physics.XI / beta**2 * np.maximum(1 / DELTA_CUT - 1 / np.maximum(greatest, DELTA_CUT), 0)
    parent = np.flatnonzero(rng.random(len(alive)) < rate * length)
    energy = DELTA_CUT / (1 - rng.random(len(parent)) * (1 - DELTA_CUT / greatest[parent]))
    alive.kinetic[parent] -= energy
    made = alive.take(parent)
    own = np.sqrt(energy * (energy + 2 * ELECTRON_MASS))
    greatest_momentum = np.sqrt(greatest[parent] * (greatest[parent] + 2 * ELECTRON_MASS))
    cosine = energy / own * greatest_momentum / greatest[parent]
    return Rays(made.image, np.full(len(made), ELECTRON_MASS), energy, made.position, _turn(made.direction, cosine, rng))


def _radiate(alive: Rays, length: Floats, rng: np.random.Generator) -> Rays:
    """Bremsstrahlung photons of electrons over a step: dN/dk ~ (4/3 - 4/3 y + y^2) / k with y = k / E (PDG, complete screening)."""
    electrons = alive.mass == ELECTRON_MASS
    ratio = np.maximum(alive.kinetic / SOFTEST, 1)
    parent = np.flatnonzero(electrons & (rng.random(len(alive)) < 4 / 3 * np.log(ratio) * length / RADIATION_LENGTH))
    y = ratio[parent] ** -rng.random(len(parent))  # 1/k between SOFTEST and E, then thinned to the full form
    accepted = rng.random(len(parent)) < 1 - y + 0.75 * y**2
    parent, y = parent[accepted], y[accepted]
    energy = y * alive.kinetic[parent]
    made = alive.take(parent)
    alive.kinetic[parent] -= energy
    return Rays(
        made.image, np.zeros(len(made)), energy, made.position, deflect(made.direction, ELECTRON_MASS / (made.kinetic + ELECTRON_MASS), rng)
    )


def _convert(photons: Rays, extent: tuple[float, float], rng: np.random.Generator, *, fly: bool) -> Rays:
    """The electrons and positrons that photons make, by pairs or Compton scattering, in the picture; ``fly`` moves the photons first."""
    made = [photons.take(np.zeros(0, np.int64))]
    while len(photons):
        if fly:
            photons.position = photons.position + rng.exponential(PHOTON_PATH, len(photons))[:, None] * photons.direction
            photons = photons.take(_inside(photons.position, extent))
        pair = rng.random(len(photons)) < photons.kinetic**2 / (photons.kinetic**2 + CROSSOVER**2)
        made += _pairs(photons.take(pair), rng)
        electrons, photons = _compton(photons.take(~pair), rng)
        made.append(electrons)
        photons = photons.take(photons.kinetic > SOFTEST)
        fly = True
    return Rays.join(made)


def _pairs(photons: Rays, rng: np.random.Generator) -> list[Rays]:
    """An electron and a positron each, sharing the energy evenly at random."""
    share = rng.random(len(photons))
    available = np.maximum(photons.kinetic - 2 * ELECTRON_MASS, 0)
    angle = ELECTRON_MASS / np.maximum(photons.kinetic, ELECTRON_MASS)
    mass = np.full(len(photons), ELECTRON_MASS)
    return [
        Rays(photons.image, mass, part * available, photons.position, deflect(photons.direction, angle, rng)) for part in (share, 1 - share)
    ]


def _compton(photons: Rays, rng: np.random.Generator) -> tuple[Rays, Rays]:
    """(electrons, scattered photons): the photon keeps a fraction of its energy between the kinematic least and 1, ~ 1 / fraction."""
    before = photons.kinetic
    after = before * (1 + 2 * before / ELECTRON_MASS) ** -rng.random(len(photons))
    cosine = 1 - ELECTRON_MASS * (1 / np.maximum(after, 1e-9) - 1 / np.maximum(before, 1e-9))
    scattered = _turn(photons.direction, cosine, rng)
    recoil = before[:, None] * photons.direction - after[:, None] * scattered
    recoil /= np.maximum(np.linalg.norm(recoil, axis=1, keepdims=True), 1e-9)
    electrons = Rays(photons.image, np.full(len(photons), ELECTRON_MASS), before - after, photons.position, recoil)
    return electrons, Rays(photons.image, photons.mass, after, photons.position, scattered)
