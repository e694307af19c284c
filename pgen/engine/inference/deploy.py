"""Deploy a trained model: latent codes of an encoder, the exported program of a generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.images import ZERO_SUPPRESSION, ArrayImages, FloatArray, ImageSet, subset
from pgen.data.io.sources import files_of
from pgen.data.io.write import write_images
from pgen.data.latents import LatentCodes
from pgen.engine.artifacts.exported_program import save_program
from pgen.engine.artifacts.run_directory import run_inputs
from pgen.engine.artifacts.weights import digest
from pgen.engine.dataloading.dataset import percent
from pgen.engine.inference.reconstruct import can_reconstruct, images_for, reconstruct
from pgen.engine.run import Run
from pgen.engine.runtime.progress import logger
from pgen.errors import ConfigError, PluginError, option
from pgen.metrics.features.image_statistics import ratio
from pgen.metrics.fidelity.reconstruction import ReconstructionResult, reconstruction_error
from pgen.plugins.requests import DeployRequest
from pgen.report.figures.base import save_figure
from pgen.report.figures.image_grid import plot_rows
from pgen.utils.files import Outputs

#: Images in reconstructions.png.
N_SHOWN = 8
#: What is written for an encoder, and for a generator.
ENCODER_FILES = ("codes.pt", "decoder.safetensors", "reconstructions.h5", "reconstructions.png")
PROGRAM = "generator.pt2"


def deploy(run: Run, request: DeployRequest) -> list[Path]:
    """Deploy a trained model.

    A model with ``encode`` and ``decode`` gives codes.pt, its decoder and reconstructions; one with
    ``noise`` and ``forward`` gives generator.pt2; one that has all four gives all.

    Returns:
        The files written.

    Raises:
        PluginError: The model has neither.
        ConfigError: An option has no use for it.
    """
    model, step = run.load_checkpoint(request.checkpoint)
    is_encoder, is_generator = can_reconstruct(model), _is_exportable(model)
    if not (is_encoder or is_generator):
        name, origin = run.plugin.spec.name, run.plugin.entry.origin
        raise PluginError(f"Model {name!r} of {origin} has neither encode and decode nor noise and forward; it needs a deploy hook.")
    inputs = run_inputs(run.folder.path, request.decoder)
    images = _open_images(run, request, is_encoder=is_encoder)
    if images is not None and (source := request.data or run.settings.source or run.settings.targets):
        inputs += files_of(source, data_root=request.data_root if request.data else run.settings.data_root)
    with Outputs(overwrite=request.overwrite, inputs=inputs) as outputs:
        names = (*(ENCODER_FILES if is_encoder else ()), *([PROGRAM] if is_generator else ()))
        drafts = [outputs.add(request.out / name) for name in names]
        if images is not None:
            _deploy_encoder(run, model, step, images, request.batch_size, drafts[: len(ENCODER_FILES)])
        if is_generator:
            _deploy_generator(run, model, request, drafts[-1])
    return outputs.targets


def _is_exportable(model: nn.Module) -> bool:
    return callable(getattr(model, "noise", None)) and type(model).forward is not nn.Module.forward


def _open_images(run: Run, request: DeployRequest, *, is_encoder: bool) -> ImageSet | None:
    name = run.plugin.spec.name
    if is_encoder:
        if request.decoder is not None:
            raise ConfigError(f"{option('decoder', request.decoder)}: {name!r} decodes its own codes; leave it out.")
        return images_for(run, request.data, request.data_root)
    if request.data is not None:
        raise ConfigError(f"{option('data', request.data)}: {name!r} is a generator and encodes nothing; leave it out.")
    if request.data_root is not None:
        raise ConfigError(f"{option('data_root', request.data_root)}: {name!r} is a generator and reads nothing; leave it out.")
    return None


def encode_images(run: Run, model: nn.Module, images: ImageSet, weights: Path, batch_size: int = 256) -> LatentCodes:
    """Encode images.

    Args:
        run: The auto-encoder's run.
        model: The auto-encoder.
        images: The images, of the shape and unit it was trained on.
        weights: Its weights file, which decodes the codes.
        batch_size: Images encoded at once.
    """
    batches = []
    for batch in reconstruct(run, model, images, batch_size):
        batches.append((batch.codes, batch.spread))
        run.progress.images(batch.indices.stop, len(images))
    codes = _latent_codes(run, model, images, [codes for codes, _ in batches], [s for _, s in batches if s is not None], weights)
    return replace(codes, folder=weights.parent)


def _latent_codes(run: Run, model: nn.Module, images: ImageSet, codes: list[Tensor], spreads: list[Tensor], weights: Path) -> LatentCodes:
    encoder = {"run": str(run.folder.path), "model": run.plugin.spec.name, "weights": digest(weights), "file": weights.name}
    source = {"name": images.name, "fingerprint": images.fingerprint}
    labels = {name: values for name, values in images.labels.items() if np.ndim(values) == 1}
    spread = torch.cat(spreads) if spreads else None
    shape = getattr(model, "code_shape", ())
    return LatentCodes.from_vectors(torch.cat(codes), list(map(str, images.ids)), source, encoder, labels, spread, shape)


def _deploy_encoder(run: Run, model: nn.Module, step: int, images: ImageSet, batch_size: int, drafts: list[Path]) -> None:
    codes_path, weights_path, images_path, figure_path = drafts
    codes: list[Tensor] = []
    spreads: list[Tensor] = []
    results: list[ReconstructionResult] = []
    first_images: dict[str, FloatArray] = {}
    threshold = run.image_decoder().threshold

    def reconstructions() -> Iterator[ArrayImages]:
        for batch in reconstruct(run, model, images, batch_size):
            view = subset(images, batch.indices)
            result = reconstruction_error(batch.real, batch.images)
            labels = {**view.labels, "mse": result.per_image}
            part = ArrayImages(batch.images, name="reconstructions", ids=view.ids, events=view.events, labels=labels, unit=images.unit)
            part.zero_suppression = threshold
            yield part
            codes.append(batch.codes)
            spreads.extend(() if batch.spread is None else (batch.spread,))
            results.append(result)
            first_images.setdefault("real", batch.real[:N_SHOWN])
            first_images.setdefault("reconstructed", batch.images[:N_SHOWN])
            run.progress.images(batch.indices.stop, len(images))

    write_images(images_path, reconstructions())
    run.save_weights(model.state_dict(), step, weights_path)
    _latent_codes(run, model, images, codes, spreads, weights_path).save(codes_path)
    save_figure(plot_rows(first_images, unit=images.unit), figure_path)
    _log_errors(run, images, results, [len(batch) for batch in codes])


def _log_errors(run: Run, images: ImageSet, results: list[ReconstructionResult], sizes: list[int]) -> None:
    mse, zero_mse, net, absolute = (
        float(np.average([getattr(result, name) for result in results], weights=sizes))
        for name in ("mse", "predict_zero_mse", "net_charge_real", "charge_real")
    )
    logger.info(f"{len(images)} images: MSE {mse:.4g} {images.unit}², {ratio(mse, zero_mse):.3f} of predicting no charge")
    if not run.info.signed and net < absolute:
        lost = f"{percent((absolute - net) / (2 * absolute))} of |charge| is negative"
        logger.warning(f"{lost}, which the codes do not keep: the run learnt from unsigned charge")


def _deploy_generator(run: Run, model: nn.Module, request: DeployRequest, path: Path) -> None:
    decoder = run.image_decoder(request.decoder)
    noise = model.noise(2, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
    facts = {
        "unit": decoder.unit,
        ZERO_SUPPRESSION: decoder.threshold,
        "run": run.folder.path.name,
        "conditions": [asdict(condition) for condition in run.info.conditions],
    }
    inputs = (noise, torch.zeros(2, size)) if (size := run.info.condition_size) else (noise,)
    save_program(path, model, decoder, inputs, facts)
