"""How good is the classifier of c2st? Its AUC against an independent network on the same images.

    python benchmarks/classifier.py --train TRAIN --held-out HELD_OUT --set NAME=FILE ... [--threshold 10]

For each generated set, it computes the AUC of pgen's c2st, also with twice the width and twice the
epochs, and that of a network of its own: plain PyTorch, nothing of pgen.metrics, another
architecture and another way of training. The network learns from all training images and from the
generated images that do not judge it. It is judged on all held-out images and on as many generated
ones, at most half of them. Two sets are added: training images that neither classifier learns from
(real against real), and blurred ones. Writes results/classifier.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

import record
from pgen.data import open_images, read_all
from pgen.metrics.fidelity import classifier, residual_network
from pgen.metrics.fidelity.classifier import c2st
from pgen.metrics.inputs import EvaluationSets

#: Of the independent network: passes over the generated images, images of a batch, rate.
PASSES, BATCH, RATE = 16, 50, 0.05
#: Blur of real images, in pixels.
BLUR = 0.35


class Residual(nn.Module):
    """A bottleneck that is added to its input; normalised after its convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        layers = [nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return functional.relu(maps + self.layers(maps))


def independent_network(channels: int) -> nn.Module:
    """Return a network of full resolution in its first layer, then residual blocks and pooling."""
    layers: list[nn.Module] = []
    inputs = 2 * channels
    for outputs, blocks in ((16, 0), (32, 2), (64, 2), (96, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [*(Residual(outputs) for _ in range(blocks)), nn.MaxPool2d(2)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(1))


def to_inputs(images: torch.Tensor) -> torch.Tensor:
    """Return two channels: which pixels have charge, and the logarithm of their charge."""
    return torch.cat([images.ne(0).float(), torch.log1p(images.abs() / 10) * images.sign()], 1)


def independent_auc(generated: np.ndarray, train: np.ndarray, held_out: np.ndarray, judged: int, seed: int = 0) -> float:
    """Train on all training images and on generated ones from ``judged`` on; return the AUC."""
    torch.manual_seed(seed)
    inputs = {name: to_inputs(torch.from_numpy(images)) for name, images in (("g", generated), ("t", train), ("h", held_out))}
    network = independent_network(train.shape[1])
    network(inputs["t"][:2])
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    learning = inputs["g"][judged:]
    steps = PASSES * len(learning) // (BATCH // 2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=True)
    labels = torch.cat([torch.ones(BATCH // 2), -torch.ones(BATCH // 2)])
    for _ in range(steps):
        batch = torch.cat([images[torch.randint(len(images), (BATCH // 2,))] for images in (learning, inputs["t"])])
        loss = functional.softplus(-labels * network(batch)[:, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        schedule.step()
    average.eval()
    with torch.no_grad():
        g, h = (torch.cat([average(part)[:, 0] for part in images.split(200)]) for images in (inputs["g"][:judged], inputs["h"]))
    wins = (g[:, None] > h).double() + 0.5 * (g[:, None] == h).double()
    return float(wins.mean())


def judge_by_pgen(sets: EvaluationSets) -> dict[str, Any]:
    began = time.monotonic()
    result = c2st(sets)
    cnn, trees = result.measures
    return {
        "cnn_auc": cnn.value, "interval": cnn.interval, "p_value": cnn.p_value, "verdict": cnn.verdict, "trees_auc": trees.value,
        "curve": result.details["CNN AUC by learning images"], "of_infinitely_many": result.details["CNN AUC of infinitely many"],
        "of_unseen_training_images": result.details["CNN AUC of unseen training images"], "settings": result.settings,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--threshold", type=float, default=10)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()

    def read(path: str) -> np.ndarray:
        images = read_all(open_images(path))
        return np.where(np.abs(images) > given.threshold, images, np.float32(0))

    rng = np.random.default_rng(0)
    train, held_out = read(given.train), read(given.held_out)
    train = train[rng.permutation(len(train))]
    generated = {name: (read(path), train) for name, _, path in (pair.partition("=") for pair in given.set)}
    part, rest = np.split(train, [2 * len(held_out)])
    blurred = ndimage.gaussian_filter(part, (0, 0, BLUR, BLUR))
    generated["blurred"] = np.where(blurred > given.threshold, blurred, np.float32(0)), rest
    generated["real"] = part, rest
    rows: dict[str, Any] = {}
    all_sets = {name: EvaluationSets(images, real, held_out, threshold=given.threshold) for name, (images, real) in generated.items()}

    def add(name: str, **values: Any) -> None:
        rows.setdefault(name, {}).update(values)
        print(name, values, flush=True)
        about = {
            "what": "AUC of pgen's c2st and of an independent network on the same images; with twice the width and epochs",
            "train": len(train), "held_out": len(held_out), "threshold": given.threshold, "blur": BLUR, "sets": rows,
        }  # fmt: skip
        record.write("classifier", about, "scikit-learn", "scipy", folder=given.folder)

    for name, (images, real) in generated.items():
        pgen = judge_by_pgen(all_sets[name])
        independent = independent_auc(images[rng.permutation(len(images))], real, held_out, min(len(held_out), len(images) // 2))
        add(name, images=len(images), pgen=pgen, independent_auc=independent, difference=pgen["cnn_auc"] - independent)
    width, epochs, passes = residual_network.WIDTH, residual_network.EPOCHS, residual_network.PASSES
    for name, sets in all_sets.items():
        with patch.multiple(classifier, PARTS=()):
            with patch.multiple(residual_network, WIDTH=2 * width):
                add(name, twice_the_width=judge_by_pgen(sets)["cnn_auc"])
            with patch.multiple(residual_network, EPOCHS=2 * epochs, PASSES=2 * passes):
                add(name, twice_the_epochs=judge_by_pgen(sets)["cnn_auc"])


if __name__ == "__main__":
    main()
