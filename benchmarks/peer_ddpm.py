"""The public baseline of compare_models.py: the unconditional DDPM of diffusers.

    python benchmarks/peer_ddpm.py --train train.h5 --threshold 10 --seconds 600 --n 2000 --out ddpm.h5

Needs diffusers. It gets the same input as pgen's flow: square roots of charge, patches of 4 x 4
pixels as channels, Adam with the same learning rate along half a cosine, EMA weights. Charge at or
below --threshold is set to 0 in the samples, which are made with 30 DDIM steps. Writes training
time, images seen, parameters and samples per second next to the images, as .json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pgen.data import ArrayImages, open_images, read_all, write_images

BATCH, STEPS = 64, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)
    images = torch.from_numpy(read_all(open_images(given.train)))
    images[images <= given.threshold] = 0
    top = float(images.max())
    x = F.pixel_unshuffle((images / top).sqrt(), 4)
    # To mean 0 and spread 1, as flow does: most pixels are dark, and noise of spread 1 would drown the others.
    mean, spread = x.mean(), x.std()
    x = (x - mean) / spread
    side = x.shape[-1]
    model = UNet2DModel(
        sample_size=side,
        in_channels=x.shape[1],
        out_channels=x.shape[1],
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        add_attention=False,
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    schedule = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", clip_sample=False)
    began, seen = time.monotonic(), 0
    while (done := (time.monotonic() - began) / given.seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))) * min(1, (seen / BATCH + 1) / 100)
        batch = x[torch.randint(len(x), (BATCH,))]
        noise, t = torch.randn_like(batch), torch.randint(1000, (BATCH,))
        loss = F.mse_loss(model(schedule.add_noise(batch, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        seen += BATCH
    trained = time.monotonic() - began
    sampler = DDIMScheduler.from_config(schedule.config)
    sampler.set_timesteps(STEPS)
    parts, began = [], time.monotonic()
    with torch.no_grad():
        for start in range(0, given.n, 256):
            y = torch.randn(min(256, given.n - start), *x.shape[1:])
            for t in sampler.timesteps:
                y = sampler.step(average(y, t).sample, t, y).prev_sample
            q = top * F.pixel_shuffle((y * spread + mean).clamp(0, 1), 4).square()
            parts.append(torch.where(q > given.threshold, q, torch.zeros_like(q)))
    sampled = time.monotonic() - began
    write_images(given.out, ArrayImages(torch.cat(parts).numpy()), overwrite=True)
    parameters = sum(value.numel() for value in model.parameters())
    found = {"seconds": trained, "seen": seen, "parameters": parameters, "samples_per_second": given.n / sampled, "steps": STEPS}
    given.out.with_suffix(".json").write_text(json.dumps(found))
    print(found)


if __name__ == "__main__":
    main()
