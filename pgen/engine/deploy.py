"""What a trained model leaves behind for others: code vectors of an encoder, or one program of a generator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.codes import Codes
from pgen.data.images import ArrayImages, ImageSet
from pgen.data.source import open_images
from pgen.data.transform import Transform
from pgen.data.write import write_images
from pgen.engine import checkpoint as checkpoints
from pgen.engine.requests import DeployRequest
from pgen.engine.run import Run
from pgen.engine.weights import read_header
from pgen.errors import UserError
from pgen.files import refuse_existing, write_through_memory
from pgen.metrics.reconstruction import reconstruction_error
from pgen.report.grid import save_rows

#: Images shown in reconstructions.png.
SHOWN = 8


def deploy(run: Run, request: DeployRequest) -> list[Path]:
    """codes.pt, decoder and reconstructions for a model with ``encode`` and ``decode``; generator.pt2 for one with ``noise``."""
    model = run.load_model(request.checkpoint)
    if callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None)):
        return _deploy_encoder(run, model, request)
    if callable(getattr(model, "noise", None)):
        return _deploy_generator(run, model, request)
    raise UserError(
        f"Model {run.plugin.spec.name!r} of {run.plugin.entry.origin} has neither encode and decode nor noise; it needs a deploy hook."
    )


def _deploy_encoder(run: Run, model: nn.Module, request: DeployRequest) -> list[Path]:
    out = request.out
    paths = [out / name for name in ("codes.pt", "decoder.safetensors", "reconstructions.h5", "reconstructions.png")]
    for path in paths:
        refuse_existing(path, overwrite=request.overwrite)
    images = _images_to_encode(run, request)
    to_images = run.to_images()
    assert run.info.transform is not None
    transform = Transform.from_dict(run.info.transform)
    codes, errors, zeros = [], [], []
    shown: dict[str, list[np.ndarray]] = {"real": [], "reconstructed": []}

    @torch.no_grad()
    def rebuild() -> Iterator[ArrayImages]:
        for start in range(0, len(images), request.batch_size):
            indices = range(start, min(start + request.batch_size, len(images)))
            real = images.read(indices)
            code = model.encode(transform.forward(torch.from_numpy(real).to(run.device)))  # type: ignore[operator]
            rebuilt = to_images(model.decode(code)).cpu().numpy()  # type: ignore[operator]
            result = reconstruction_error(real, rebuilt)
            codes.append(code.float().cpu())
            errors.append(result.per_image)
            zeros.append(np.square(real, dtype=np.float64).mean(axis=(1, 2, 3)))
            if start == 0:
                shown["real"], shown["reconstructed"] = list(real[:SHOWN]), list(rebuilt[:SHOWN])
            labels = {name: values[start : indices.stop] for name, values in images.labels.items()}
            yield ArrayImages(
                rebuilt,
                name="reconstructions",
                ids=images.ids[start : indices.stop],
                events=images.events[start : indices.stop],
                labels={**labels, "mse": result.per_image},
                unit=images.unit,
            )
            run.reporter.tick(indices.stop, len(images))

    out.mkdir(parents=True, exist_ok=True)
    write_images(paths[2], rebuild(), overwrite=True)
    run.save_weights(model.state_dict(), _step(run, request.checkpoint), paths[1])
    vectors = torch.cat(codes)
    encoder = {"run": str(run.folder.path), "model": run.plugin.spec.name, "weights": read_header(paths[1]).sha256, "file": paths[1].name}
    source = {"name": images.name, "fingerprint": images.fingerprint}
    Codes.of(vectors, list(map(str, images.ids)), source, encoder).save(paths[0], overwrite=True)
    save_rows(paths[3], {name: np.stack(rows) for name, rows in shown.items()}, unit=images.unit)
    mse, zero = float(np.concatenate(errors).mean()), float(np.concatenate(zeros).mean())
    run.reporter.message(f"{len(images)} images: MSE {mse:.4g} {images.unit}², {mse / zero:.3f} of predicting no charge")
    return paths


def _images_to_encode(run: Run, request: DeployRequest) -> ImageSet:
    if request.data is None:
        samples = run.data.samples
        assert not isinstance(samples, Codes)
        return samples
    images = open_images(request.data, data_root=request.data_root)
    if images.shape != run.info.shape:
        raise UserError(
            f"--data {request.data}: found images of {images.shape}, wanted {run.info.shape} as {run.folder.path} was trained on."
        )
    return images


def _step(run: Run, checkpoint: str) -> int:
    if checkpoint == "best":
        return read_header(run.folder.weights).step
    return checkpoints.steps(run.folder)[-1] if checkpoint == "last" else int(checkpoint)


class _Program(nn.Module):
    """Noise in, images in charge units out."""

    def __init__(self, generator: nn.Module, to_images: nn.Module) -> None:
        super().__init__()
        self.generator, self.to_images = generator, to_images

    def forward(self, noise: Tensor) -> Tensor:
        return self.to_images(self.generator(noise))


def _deploy_generator(run: Run, model: nn.Module, request: DeployRequest) -> list[Path]:
    if request.data is not None:
        raise UserError(f"--data {request.data}: {run.plugin.spec.name!r} is a generator and encodes nothing; leave --data out.")
    path = refuse_existing(request.out / "generator.pt2", overwrite=request.overwrite)
    to_images = run.to_images(request.decoder)
    program = _Program(model, to_images).eval().cpu()
    noise = model.noise(2, generator=torch.Generator().manual_seed(0)).cpu()  # type: ignore[operator]
    exported = torch.export.export(program, (noise,), dynamic_shapes=({0: torch.export.Dim("images", min=1)},))
    facts = {"format": "pgen-generator-1", "noise": list(noise.shape[1:]), "unit": to_images.unit, "run": run.folder.path.name}
    write_through_memory(path, lambda stream: torch.export.save(exported, stream, extra_files={"pgen.json": json.dumps(facts)}))
    return [path]
