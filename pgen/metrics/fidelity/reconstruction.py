"""How well images are reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import PgenError
from pgen.metrics.features.image_statistics import image_statistics, ratio
from pgen.metrics.validation import Images, Result, as_images, same_shape


@dataclass(frozen=True)
class ReconstructionResult(Result):
    """Mean squared error per pixel, in charge units squared.

    Attributes:
        mse: over the set.
        per_image: (N,).
        predict_zero_mse: of blank images in place of reconstructions: what a model must beat, and on sparse images easily does not.
        charge_ratio, occupancy_ratio: reconstructed over real, of the set's mean |charge| and occupancy; NaN where real is blank.
        charge_real: mean |charge| of a real image. net_charge, net_charge_real: mean net charge of a reconstructed and of a real image,
            in which signs cancel.
    """

    mse: float
    per_image: npt.NDArray[np.float64]
    predict_zero_mse: float
    charge_ratio: float
    occupancy_ratio: float
    charge_real: float
    net_charge: float
    net_charge_real: float


def reconstruction_error(real: Images, reconstructed: Images, threshold: float = 0) -> ReconstructionResult:
    """Compare images (N, C, H, W) with their reconstructions, in charge units; a pixel whose |charge| is above ``threshold`` is lit.

    Raises:
        UserError: the sets differ in number or shape, or hold NaN.
    """
    images = {"real": as_images(real, "real"), "reconstructed": as_images(reconstructed, "reconstructed")}
    same_shape(**images)
    x, y = images.values()
    if len(x) != len(y):
        raise PgenError(f"reconstructed: found {len(y)} images for {len(x)} real ones, wanted one each; reconstruct the same set.")
    per_image = np.square(x - y).mean(axis=(1, 2, 3), dtype=np.float64)
    before, after = image_statistics(x, threshold), image_statistics(y, threshold)
    return ReconstructionResult(
        mse=float(per_image.mean()),
        per_image=per_image,
        predict_zero_mse=float(np.square(x).mean(dtype=np.float64)),
        charge_ratio=ratio(float(after.absolute_charge.mean()), float(before.absolute_charge.mean())),
        occupancy_ratio=ratio(float(after.occupancy.mean()), float(before.occupancy.mean())),
        charge_real=float(before.absolute_charge.mean()),
        net_charge=float(after.charge.mean()),
        net_charge_real=float(before.charge.mean()),
    )
