"""Estimate the momentum of particles by gradient descent through a conditional generator.

    python examples/recover_momentum.py RUN_OF_EWM RUN_OF_AE IMAGES [--n 200]

RUN_OF_EWM was trained on latent codes of one kind of particle with ``--condition momentum``, and
RUN_OF_AE is the auto-encoder of these codes. IMAGES are other images, with the label ``momentum``.
The script prints bias and width of the relative error, the same for an estimate that ignores the
images, and the correlation between estimate and truth.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data import ChargeTransform, open_images
from pgen.engine.run import Run

STEPS = 400
#: Several starting points per code, because gradient descent may end in a local minimum.
STARTS = 8


def recover(generator: nn.Module, codes: Tensor, z_dim: int, error: float) -> Tensor:
    """Find the most probable condition of each code.

    Noise and condition have standard normal priors, so this minimises |G(z, c) - code|^2 / error^2 + |z|^2 + c^2.

    Args:
        generator: Maps noise (n, z_dim) and conditions (n, 1) to latent codes (n, D).
        codes: (n, D) latent codes.
        z_dim: Dimension of the noise.
        error: Standard deviation of the numbers in a code.

    Returns:
        (n,) conditions, standardised.
    """
    n = len(codes)
    noise = torch.randn(STARTS, n, z_dim, generator=torch.Generator().manual_seed(0)).mul(0.5).requires_grad_()
    condition = torch.linspace(-1.5, 1.5, STARTS)[:, None].repeat(1, n).requires_grad_()
    optimizer = torch.optim.Adam([noise, condition], lr=0.05)
    for _ in range(STEPS):
        generated = generator(noise.flatten(0, 1), condition.reshape(-1, 1)).unflatten(0, (STARTS, n))
        energy = (generated - codes).square().sum(2) / error**2 + noise.square().sum(2) + condition.square()
        optimizer.zero_grad()
        energy.sum().backward()
        optimizer.step()
    best = energy.detach().argmin(0)
    return condition.detach()[best, torch.arange(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator")
    parser.add_argument("encoder")
    parser.add_argument("images")
    parser.add_argument("--n", type=int, default=200)
    options = parser.parse_args()
    cpu = torch.device("cpu")
    run, encoder = Run.open(options.generator, device=cpu), Run.open(options.encoder, device=cpu)
    (momentum,) = run.info.conditions
    images = open_images(f"{options.images}:limit={options.n}")
    charge = torch.from_numpy(images.read(range(len(images))))
    with torch.no_grad():
        codes = encoder.load_model().encode(ChargeTransform.from_dict(encoder.info.transform).forward(charge))
    mean, std = (torch.tensor(run.info.codes[name]) for name in ("mean", "std"))
    condition = recover(run.load_model(), (codes - mean) / std, run.config.z_dim, error=1.0)
    truth, estimate = images.labels["momentum"], (momentum.mean + momentum.std * condition).numpy()
    for name, values in (("by gradient descent", estimate), ("without the image", np.full(len(truth), momentum.mean))):
        error = values / truth - 1
        print(f"{name}: bias {np.median(error):+.3f}, width {np.subtract(*np.percentile(error, [84, 16])) / 2:.3f}")
    print(f"correlation of estimate and truth: {np.corrcoef(estimate, truth)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
