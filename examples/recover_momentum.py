"""The momentum of particles from their images, by gradient descent through a conditional generator.

    python examples/recover_momentum.py RUN_OF_EWM RUN_OF_AE IMAGES [--n 200]

RUN_OF_EWM: fitted to codes of one kind of particle with --condition momentum. RUN_OF_AE: the auto-encoder of these codes. IMAGES: others,
with the label momentum. Prints bias and width of estimate over truth, those of a guess that knows no image, and the correlation of estimate
and truth.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data import open_images
from pgen.data.transforms.charge import Transform
from pgen.engine.run import Run

STEPS = 400
#: Of the noise that a code might come from, several beginnings, since the way down may end in a hollow.
STARTS = 8


def recover(generator: nn.Module, codes: Tensor, z_dim: int, error: float) -> Tensor:
    """(n,) the condition under which ``generator`` most probably makes each of ``codes`` (n, D), for noise (z_dim) that is normal, as the
    condition is taken to be, and codes known to within ``error``: the least of |G(z, c) - code|^2 / error^2 + |z|^2 + c^2."""
    n = len(codes)
    noise = torch.randn(STARTS, n, z_dim, generator=torch.Generator().manual_seed(0)).mul(0.5).requires_grad_()
    told = torch.linspace(-1.5, 1.5, STARTS)[:, None].repeat(1, n).requires_grad_()
    optimizer = torch.optim.Adam([noise, told], lr=0.05)
    for _ in range(STEPS):
        made = generator(noise.flatten(0, 1), told.reshape(-1, 1)).unflatten(0, (STARTS, n))
        energy = (made - codes).square().sum(2) / error**2 + noise.square().sum(2) + told.square()
        optimizer.zero_grad()
        energy.sum().backward()
        optimizer.step()
    best = energy.detach().argmin(0)
    return told.detach()[best, torch.arange(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator")
    parser.add_argument("encoder")
    parser.add_argument("images")
    parser.add_argument("--n", type=int, default=200)
    given = parser.parse_args()
    run, encoder = Run.open(given.generator, device=torch.device("cpu")), Run.open(given.encoder, device=torch.device("cpu"))
    (momentum,) = run.info.conditions
    images = open_images(f"{given.images}:limit={given.n}")
    with torch.no_grad():
        seen = Transform.from_dict(encoder.info.transform).forward(torch.from_numpy(images.read(range(len(images)))))
        codes = encoder.load_model().encode(seen)
    mean, std = (torch.tensor(run.info.codes[name]) for name in ("mean", "std"))
    found = recover(run.load_model(), (codes - mean) / std, run.config.z_dim, error=1.0)
    truth, estimate = images.labels["momentum"], (momentum.mean + momentum.std * found).numpy()
    for name, values in (("by gradient descent", estimate), ("the mean of all", np.full(len(truth), momentum.mean))):
        off = values / truth - 1
        print(f"{name}: bias {np.median(off):+.3f}, width {np.subtract(*np.percentile(off, [84, 16])) / 2:.3f}")
    print(f"correlation of estimate and truth: {np.corrcoef(estimate, truth)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
