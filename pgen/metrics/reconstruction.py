"""How well images are reconstructed, and which checkpoint to keep for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.errors import UserError
from pgen.metrics.images import image_statistics, ratio
from pgen.metrics.result import Images, Result, as_images, same_shape


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


@dataclass(frozen=True)
class CheckpointChoice(Result):
    """A checkpoint chosen by its reconstruction error.

    Attributes:
        step, gap: the choice, and its |held-out MSE - train MSE|.
        best_step, best_mse: the checkpoint with the smallest held-out MSE.
        smallest_gap_step: smallest gap of all checkpoints, those that have not learnt yet included.
        qualified: how many checkpoints the choice was made from.
    """

    step: int
    gap: float
    best_step: int
    best_mse: float
    smallest_gap_step: int
    qualified: int


def reconstruction_error(real: Images, reconstructed: Images, threshold: float = 0) -> ReconstructionResult:
    """Compare images (N, C, H, W) with their reconstructions, in charge units; a pixel whose |charge| is above ``threshold`` is lit.

    Raises:
        UserError: the sets differ in number or shape, or hold NaN.
    """
    images = {"real": as_images(real, "real"), "reconstructed": as_images(reconstructed, "reconstructed")}
    same_shape(**images)
    x, y = images.values()
    if len(x) != len(y):
        raise UserError(f"reconstructed: found {len(y)} images for {len(x)} real ones, wanted one each; reconstruct the same set.")
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


def smallest_gap(
    steps: Sequence[int], train_mse: Sequence[float], held_out_mse: Sequence[float], *, slack: float = 0.1
) -> CheckpointChoice:
    """The checkpoint whose held-out error is nearest to its train error, |held-out - train|, among those that have learnt.

    An untrained model errs as much on either set, so the smallest gap alone would choose step 0. Only checkpoints whose held-out MSE
    is at most ``1 + slack`` times the best one take part; of equal gaps, the smaller held-out MSE wins.

    Args:
        steps, train_mse, held_out_mse: (K,) one value a checkpoint.
        slack: 0 chooses the best held-out checkpoint.

    Raises:
        UserError: the lists are empty, differ in length, or hold no checkpoint with finite errors; ``slack`` is negative.
    """
    if not len(steps) == len(train_mse) == len(held_out_mse) or not len(steps):
        raise UserError(
            f"checkpoints: found {len(steps)} steps, {len(train_mse)} train and {len(held_out_mse)} held-out errors, wanted one or more "
            "and as many of each; evaluate every checkpoint on both sets."
        )
    if not slack >= 0:
        raise UserError(f"slack: found {slack:g}, wanted 0 or more, such as 0.1.")
    step, train, held_out = np.asarray(steps), np.asarray(train_mse, dtype=float), np.asarray(held_out_mse, dtype=float)
    finite = np.isfinite(train) & np.isfinite(held_out)
    if not finite.any():
        raise UserError(
            "checkpoints: found no finite error, wanted at least one checkpoint that did not diverge; train again, more slowly."
        )
    step, train, held_out = step[finite], train[finite], held_out[finite]
    gap = np.abs(held_out - train)
    best = int(held_out.argmin())
    qualified = np.flatnonzero(held_out <= held_out[best] * (1 + slack))
    chosen = qualified[np.lexsort((held_out[qualified], gap[qualified]))[0]]
    return CheckpointChoice(
        step=int(step[chosen]),
        gap=float(gap[chosen]),
        best_step=int(step[best]),
        best_mse=float(held_out[best]),
        smallest_gap_step=int(step[gap.argmin()]),
        qualified=len(qualified),
    )
