"""What a trained model leaves behind for others: code vectors of an encoder, or one program of a generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.formats.codes import LatentCodes
from pgen.data.images import ArrayImages, FloatArray, ImageSet, subset
from pgen.data.io.sources import files_of
from pgen.data.io.write import write_images
from pgen.data.transforms.zero_suppression import NOTE, note_suppression
from pgen.engine.artifacts.exported_program import save_program
from pgen.engine.artifacts.run_directory import run_inputs
from pgen.engine.artifacts.weights import digest
from pgen.engine.dataloading.dataset import percent
from pgen.engine.inference.reconstruct import can_reconstruct, images_for, reconstruct
from pgen.engine.run import Run
from pgen.errors import PgenError
from pgen.metrics.features.image_statistics import ratio
from pgen.metrics.fidelity.reconstruction import ReconstructionResult, reconstruction_error
from pgen.plugins.requests import DeployRequest
from pgen.report.figures.base import save_figure
from pgen.report.figures.image_grid import plot_rows
from pgen.utils.files import Outputs

#: Images shown in reconstructions.png.
SHOWN = 8
#: What is written of an encoder, and of a generator.
ENCODED = ("codes.pt", "decoder.safetensors", "reconstructions.h5", "reconstructions.png")
PROGRAM = "generator.pt2"


def deploy(run: Run, request: DeployRequest) -> list[Path]:
    """codes.pt, decoder and reconstructions for a model with ``encode`` and ``decode``; generator.pt2 for one with ``noise`` and
    ``forward``; all of it for one that has all four."""
    model, step = run.load(request.checkpoint)
    encodes, generates = can_reconstruct(model), _can_be_exported(model)
    if not (encodes or generates):
        name, origin = run.plugin.spec.name, run.plugin.entry.origin
        raise PgenError(f"Model {name!r} of {origin} has neither encode and decode nor noise and forward; it needs a deploy hook.")
    if not encodes:
        _refuse_encoding(run, request)
    inputs = run_inputs(run.folder.path, request.decoder)
    images = _images_to_encode(run, request) if encodes else None
    if images is not None and (source := request.data or run.settings.source or run.settings.targets):
        inputs += files_of(source, data_root=request.data_root if request.data else run.settings.data_root)
    with Outputs(overwrite=request.overwrite, inputs=inputs) as outputs:
        drafts = [outputs.add(request.out / name) for name in (*(ENCODED if encodes else ()), *([PROGRAM] if generates else ()))]
        if images is not None:
            _deploy_encoder(run, model, step, images, request.batch_size, drafts[: len(ENCODED)])
        if generates:
            _deploy_generator(run, model, request, drafts[-1])
    return outputs.targets


def _can_be_exported(model: nn.Module) -> bool:
    return callable(getattr(model, "noise", None)) and type(model).forward is not nn.Module.forward


def _images_to_encode(run: Run, request: DeployRequest) -> ImageSet:
    if request.decoder is not None:
        raise PgenError(f"--decoder {request.decoder}: {run.plugin.spec.name!r} decodes its own codes; leave --decoder out.")
    return images_for(run, request.data, request.data_root)


def _deploy_encoder(run: Run, model: nn.Module, step: int, images: ImageSet, batch_size: int, drafts: list[Path]) -> None:
    codes_path, weights_path, images_path, picture_path = drafts
    codes: list[Tensor] = []
    spreads: list[Tensor] = []
    results: list[ReconstructionResult] = []
    shown: dict[str, FloatArray] = {}
    threshold = run.to_images().transform.threshold

    def rebuilt() -> Iterator[ArrayImages]:
        for batch in reconstruct(run, model, images, batch_size):
            part = subset(images, batch.indices)
            result = reconstruction_error(batch.real, batch.images)
            labels = {**part.labels, "mse": result.per_image}
            held = ArrayImages(batch.images, name="reconstructions", ids=part.ids, events=part.events, labels=labels, unit=images.unit)
            note_suppression(held, threshold)
            yield held
            codes.append(batch.codes)
            spreads.extend(() if batch.spread is None else (batch.spread,))
            results.append(result)
            shown.setdefault("real", batch.real[:SHOWN])
            shown.setdefault("reconstructed", batch.images[:SHOWN])
            run.reporter.tick(batch.indices.stop, len(images))

    write_images(images_path, rebuilt())
    run.save_weights(model.state_dict(), step, weights_path)
    encoder = {"run": str(run.folder.path), "model": run.plugin.spec.name, "weights": digest(weights_path), "file": weights_path.name}
    source = {"name": images.name, "fingerprint": images.fingerprint}
    labels = {name: values for name, values in images.labels.items() if np.ndim(values) == 1}
    spread = torch.cat(spreads) if spreads else None
    shape = getattr(model, "code_shape", ())
    LatentCodes.of(torch.cat(codes), list(map(str, images.ids)), source, encoder, labels, spread, shape).save(codes_path)
    save_figure(plot_rows(shown, unit=images.unit), picture_path)
    sizes = list(map(len, codes))
    mse, zero = (float(np.average(values, weights=sizes)) for values in zip(*((r.mse, r.predict_zero_mse) for r in results), strict=True))
    run.reporter.message(f"{len(images)} images: MSE {mse:.4g} {images.unit}², {ratio(mse, zero):.3f} of predicting no charge")
    net, absolute = (
        float(np.average(values, weights=sizes)) for values in zip(*((r.net_charge_real, r.charge_real) for r in results), strict=True)
    )
    if not run.info.signed and net < absolute:
        lost = f"{percent((absolute - net) / (2 * absolute))} of |charge| is negative"
        run.reporter.message(f"warning: {lost}, which the codes do not keep: the run learnt from unsigned charge")


def _refuse_encoding(run: Run, request: DeployRequest) -> None:
    if request.data is not None:
        raise PgenError(f"--data {request.data}: {run.plugin.spec.name!r} is a generator and encodes nothing; leave --data out.")
    if request.data_root is not None:
        raise PgenError(f"--data-root {request.data_root}: {run.plugin.spec.name!r} is a generator and reads nothing; leave it out.")


def _deploy_generator(run: Run, model: nn.Module, request: DeployRequest, path: Path) -> None:
    to_images = run.to_images(request.decoder)
    noise = model.noise(2, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
    facts = {
        "unit": to_images.unit,
        NOTE: to_images.transform.threshold,
        "run": run.folder.path.name,
        "conditions": [asdict(condition) for condition in run.info.conditions],
    }
    given = (noise, torch.zeros(2, size)) if (size := run.info.condition_size) else (noise,)
    save_program(path, model, to_images, given, facts)
