"""Reconstruction error of an auto-encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import DataError
from pgen.metrics.features.image_statistics import image_statistics, ratio
from pgen.metrics.validation import Images, Result, as_images, check_same_shape


@dataclass(frozen=True)
class ReconstructionResult(Result):
    """Reconstruction error and charge of a set of images.

    Attributes:
        mse: Mean squared error per pixel, in charge units squared.
        per_image: (N,) the same of each image.
        predict_zero_mse: MSE of blank images in place of reconstructions. A model must beat it,
            which is not easy for sparse images.
        charge_ratio: Mean |charge| of the reconstructions divided by that of the real images; NaN
            if these are blank.
        occupancy_ratio: The same of the occupancy.
        charge_real: Mean |charge| of a real image.
        net_charge: Mean net charge of a reconstruction, in which signs cancel.
        net_charge_real: Mean net charge of a real image.
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
    """Compare images with their reconstructions.

    Args:
        real: (N, C, H, W) in charge units.
        reconstructed: (N, C, H, W), in the same order.
        threshold: Occupancy counts pixels whose |charge| is above.

    Raises:
        DataError: The sets differ in number or shape, or have NaN pixels.
    """
    images = {"real": as_images(real, "real"), "reconstructed": as_images(reconstructed, "reconstructed")}
    check_same_shape(**images)
    x, y = images.values()
    if len(x) != len(y):
        raise DataError(f"reconstructed: expected one image for each of {len(x)} real ones, got {len(y)}; reconstruct the same set.")
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
