"""Passage of particles through liquid argon: energy loss, scattering, recombination.

Energies are in MeV, lengths in cm. PDG is the Particle Data Group, "Review of Particle Physics",
"Passage of particles through matter".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ELECTRON_MASS = 0.51099895
#: g / cm3, at 87 K.
DENSITY = 1.396
Z_OVER_A = 18 / 39.948
#: Mean excitation energy I of argon.
EXCITATION = 188e-6
RADIATION_LENGTH = 14.0
#: K Z / (2 A) rho in MeV / cm, the scale of all collision loss.
XI = 0.307075 * Z_OVER_A * DENSITY / 2
#: Energy per electron-ion pair.
ION_WORK = 23.6e-6
#: kV / cm, MicroBooNE's drift field.
FIELD = 0.273
#: alpha, and beta in (kV/cm) (g/cm2) / MeV, of the modified Box model: ArgoNeuT, JINST 8 P08005
#: (2013).
BOX_ALPHA, BOX_BETA = 0.93, 0.212


def speeds(kinetic: Floats, mass: Floats) -> tuple[Floats, Floats, Floats]:
    """Return momentum (MeV/c), beta and gamma."""
    momentum = np.sqrt(kinetic * (kinetic + 2 * mass))
    return momentum, momentum / (kinetic + mass), 1 + kinetic / mass


def energy_loss(kinetic: Floats, mass: Floats, cut: float = np.inf) -> Floats:
    """Return the mean collision loss dE/dx in MeV/cm of a particle of charge 1.

    This is the Bethe formula restricted to energy transfers below ``cut`` MeV (PDG). The density
    correction is its high-energy limit, at least 0. Near the end of a track the formula is used
    below its range of validity.
    """
    _, beta, gamma = speeds(kinetic, mass)
    beta2, bg2 = beta**2, (beta * gamma) ** 2
    greatest = max_transfer(kinetic, mass)
    cut_at = np.minimum(cut, greatest)
    plasma = 28.816e-6 * np.sqrt(DENSITY * Z_OVER_A)
    delta = np.maximum(0, 2 * (np.log(plasma / EXCITATION) + 0.5 * np.log(bg2) - 0.5))
    logarithm = np.log(2 * ELECTRON_MASS * bg2 * cut_at / EXCITATION**2)
    return np.maximum(2 * XI / beta2 * (0.5 * logarithm - beta2 / 2 * (1 + cut_at / greatest) - delta / 2), 0.5)


def max_transfer(kinetic: Floats, mass: Floats) -> Floats:
    """Return the greatest energy that one collision gives an electron (PDG)."""
    _, beta, gamma = speeds(kinetic, mass)
    return 2 * ELECTRON_MASS * (beta * gamma) ** 2 / (1 + 2 * gamma * ELECTRON_MASS / mass + (ELECTRON_MASS / mass) ** 2)


def scattering_angle(kinetic: Floats, mass: Floats, step: Floats, before: Floats | float = 0.0) -> Floats:
    """Return the RMS plane angle (rad) that multiple scattering adds over a step, at most 1 rad.

    Highland's formula (PDG) is for a whole path; because of its logarithm, the angles of several
    short steps would add up to less. So a step adds the variance of the path up to its end minus
    that of the path before it, and the total does not depend on the steps.

    Args:
        kinetic: (M,) kinetic energy.
        mass: (M,) mass.
        step: (M,) length of the step.
        before: (M,) length of the path before the step.
    """
    momentum, beta, _ = speeds(kinetic, mass)
    variance = _highland(before + step) - _highland(np.asarray(before))
    return np.minimum(13.6 / (beta * momentum) * np.sqrt(variance), 1.0)


def _highland(length: Floats) -> Floats:
    """Return the mean square plane angle over ``length`` cm, in (13.6 MeV / beta c p)^2."""
    path = length / RADIATION_LENGTH
    return path * np.maximum(1 + 0.038 * np.log(np.maximum(path, 1e-30)), 0.5) ** 2


def recombination(loss: Floats) -> Floats:
    """Return the fraction of electrons that escape recombination at ``loss`` MeV/cm.

    This is the modified Box model, see BOX_ALPHA.
    """
    strength = BOX_BETA * loss / (DENSITY * FIELD)
    return np.clip(np.log(BOX_ALPHA + strength) / strength, 0, 1)
