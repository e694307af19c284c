"""Transport of the toy simulation: particles in steps through argon, delta rays, showers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from pgen.data.simulation import energy_loss as physics
from pgen.data.simulation.energy_loss import ELECTRON_MASS, RADIATION_LENGTH, Floats

#: MeV. A particle below it deposits all its energy.
STOP = 0.3
#: MeV. Knock-on electrons above it are followed; below it they are part of the mean loss.
DELTA_CUT = 0.7
#: MeV. Photons below it are left out.
MIN_PHOTON = 1.0
#: cm. Right for pair production, and within a third for Compton scattering above 1 MeV.
PHOTON_PATH = 9 / 7 * RADIATION_LENGTH
#: MeV. Pair production and Compton scattering are equally likely in argon.
CROSSOVER = 13.0


@dataclass
class Rays:
    """M particles.

    Attributes:
        image: (M,) image to which a particle belongs.
        mass: (M,) MeV; 0 is a photon.
        kinetic: (M,) kinetic energy, MeV.
        position: (M, 3) cm, along drift (rows), vertical, and beam (columns).
        direction: (M, 3) unit vectors.
        travelled: (M,) cm travelled so far, by default 0, on which scattering depends.
    """

    image: np.ndarray
    mass: Floats
    kinetic: Floats
    position: Floats
    direction: Floats
    travelled: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.travelled) != len(self.image):
            self.travelled = np.zeros(len(self.image))

    def take(self, index: np.ndarray) -> Rays:
        """Return the particles at ``index``."""
        return Rays(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def concatenate(parts: list[Rays]) -> Rays:
        """Concatenate sets of particles."""
        return Rays(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rays)))

    def __len__(self) -> int:
        return len(self.image)


def transport(rays: Rays, extent: tuple[float, float], step: float, rng: np.random.Generator) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Follow all particles until they stop or leave the image.

    Photons among ``rays`` convert where they are.

    Args:
        rays: The particles.
        extent: Rows and columns of the image in cm.
        step: Longest step in cm.
        rng: Source of all random numbers.

    Returns:
        Of all K deposits: image (K,), position (K, 3) in cm, energy (K,) in MeV, mean dE/dx (K,) in
        MeV/cm.
    """
    deposits = []
    photons = rays.mass == 0
    alive = Rays.concatenate([rays.take(~photons), _convert(rays.take(photons), extent, rng, fly=False)])
    while len(alive):
        loss = physics.energy_loss(alive.kinetic, alive.mass, DELTA_CUT)
        length = np.minimum(step, 0.2 * alive.kinetic / loss)  # short steps at the end of a track: at most a fifth of the energy
        # Midpoint rule: the error is of third order in the length of the step.
        middle = alive.kinetic - 0.5 * length * loss
        loss = physics.energy_loss(middle, alive.mass, DELTA_CUT)
        _, beta, _ = physics.speeds(middle, alive.mass)
        # Straggling below the cut: Bohr's variance, by a gamma distribution to keep it positive.
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
        alive = Rays.concatenate([alive, deltas, radiated])
        alive = alive.take(alive.kinetic > STOP)
    image, position, energy, density = (np.concatenate(arrays) for arrays in zip(*deposits, strict=True))
    return image, position, energy, density


def deflect(direction: Floats, angle: Floats, rng: np.random.Generator) -> Floats:
    """Deflect directions by a Gaussian angle of RMS ``angle`` in both transverse planes."""
    kick = rng.standard_normal(direction.shape)
    kick -= np.sum(kick * direction, 1, keepdims=True) * direction  # leaves a Gaussian in the transverse plane
    deflected = direction + angle[:, None] * kick
    return deflected / np.linalg.norm(deflected, axis=1, keepdims=True)


def _rotate(direction: Floats, cosine: Floats, rng: np.random.Generator) -> Floats:
    """Rotate directions by the angle of this cosine, at a random azimuth."""
    kick = rng.standard_normal(direction.shape)
    kick -= np.sum(kick * direction, 1, keepdims=True) * direction
    kick /= np.linalg.norm(kick, axis=1, keepdims=True)
    cosine = np.clip(cosine, -1, 1)[:, None]
    return cosine * direction + np.sqrt(1 - cosine**2) * kick


def _inside(position: Floats, extent: tuple[float, float]) -> np.ndarray:
    rows, columns = position[:, 0], position[:, 2]
    return (rows >= 0) & (rows < extent[0]) & (columns >= 0) & (columns < extent[1])


def _knock_on(alive: Rays, length: Floats, rng: np.random.Generator) -> Rays:
    """Emit delta rays over a step: dN/dT ~ 1/T^2 above the cut (PDG), with two-body angles."""
    greatest = np.where(alive.mass == ELECTRON_MASS, alive.kinetic / 2, physics.max_transfer(alive.kinetic, alive.mass))
    _, beta, _ = physics.speeds(alive.kinetic, alive.mass)
    rate = physics.XI / beta**2 * np.maximum(1 / DELTA_CUT - 1 / np.maximum(greatest, DELTA_CUT), 0)
    parent = np.flatnonzero(rng.random(len(alive)) < rate * length)
    energy = DELTA_CUT / (1 - rng.random(len(parent)) * (1 - DELTA_CUT / greatest[parent]))
    alive.kinetic[parent] -= energy
    emitters = alive.take(parent)
    momentum = np.sqrt(energy * (energy + 2 * ELECTRON_MASS))
    greatest_momentum = np.sqrt(greatest[parent] * (greatest[parent] + 2 * ELECTRON_MASS))
    cosine = energy / momentum * greatest_momentum / greatest[parent]
    return Rays(emitters.image, np.full(len(emitters), ELECTRON_MASS), energy, emitters.position, _rotate(emitters.direction, cosine, rng))


def _radiate(alive: Rays, length: Floats, rng: np.random.Generator) -> Rays:
    """Emit bremsstrahlung over a step: dN/dk ~ (4/3 - 4/3 y + y^2) / k, y = k / E (PDG)."""
    electrons = alive.mass == ELECTRON_MASS
    ratio = np.maximum(alive.kinetic / MIN_PHOTON, 1)
    parent = np.flatnonzero(electrons & (rng.random(len(alive)) < 4 / 3 * np.log(ratio) * length / RADIATION_LENGTH))
    y = ratio[parent] ** -rng.random(len(parent))  # 1/k between MIN_PHOTON and E, then thinned to the full spectrum
    accepted = rng.random(len(parent)) < 1 - y + 0.75 * y**2
    parent, y = parent[accepted], y[accepted]
    energy = y * alive.kinetic[parent]
    emitters = alive.take(parent)
    alive.kinetic[parent] -= energy
    return Rays(
        emitters.image,
        np.zeros(len(emitters)),
        energy,
        emitters.position,
        deflect(emitters.direction, ELECTRON_MASS / (emitters.kinetic + ELECTRON_MASS), rng),
    )


def _convert(photons: Rays, extent: tuple[float, float], rng: np.random.Generator, *, fly: bool) -> Rays:
    """Convert photons in the image to electrons and positrons; ``fly`` moves them first."""
    charged = [photons.take(np.zeros(0, np.int64))]
    while len(photons):
        if fly:
            photons.position = photons.position + rng.exponential(PHOTON_PATH, len(photons))[:, None] * photons.direction
            photons = photons.take(_inside(photons.position, extent))
        pair = rng.random(len(photons)) < photons.kinetic**2 / (photons.kinetic**2 + CROSSOVER**2)
        charged += _make_pairs(photons.take(pair), rng)
        electrons, photons = _scatter_compton(photons.take(~pair), rng)
        charged.append(electrons)
        photons = photons.take(photons.kinetic > MIN_PHOTON)
        fly = True
    return Rays.concatenate(charged)


def _make_pairs(photons: Rays, rng: np.random.Generator) -> list[Rays]:
    """Convert each photon to an electron and a positron of a uniform fraction of its energy."""
    fraction = rng.random(len(photons))
    available = np.maximum(photons.kinetic - 2 * ELECTRON_MASS, 0)
    angle = ELECTRON_MASS / np.maximum(photons.kinetic, ELECTRON_MASS)
    mass = np.full(len(photons), ELECTRON_MASS)
    return [
        Rays(photons.image, mass, part * available, photons.position, deflect(photons.direction, angle, rng))
        for part in (fraction, 1 - fraction)
    ]


def _scatter_compton(photons: Rays, rng: np.random.Generator) -> tuple[Rays, Rays]:
    """Scatter photons, which keep a fraction f of their energy, with dN/df ~ 1/f.

    Returns:
        The electrons, and the scattered photons.
    """
    before = photons.kinetic
    after = before * (1 + 2 * before / ELECTRON_MASS) ** -rng.random(len(photons))
    cosine = 1 - ELECTRON_MASS * (1 / np.maximum(after, 1e-9) - 1 / np.maximum(before, 1e-9))
    scattered = _rotate(photons.direction, cosine, rng)
    recoil = before[:, None] * photons.direction - after[:, None] * scattered
    recoil /= np.maximum(np.linalg.norm(recoil, axis=1, keepdims=True), 1e-9)
    electrons = Rays(photons.image, np.full(len(photons), ELECTRON_MASS), before - after, photons.position, recoil)
    return electrons, Rays(photons.image, photons.mass, after, photons.position, scattered)
