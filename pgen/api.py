"""pgen in Python: open and split images, train models, sample and evaluate.

The command line does the same through the same functions.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import ArrayImages, ImageSet
from pgen.data.io import sources
from pgen.data.io.write import write_images
from pgen.data.latents import LatentCodes
from pgen.data.transforms.split import split
from pgen.engine import hooks
from pgen.engine import run as runs
from pgen.engine.config import TrainConfig, validate_options
from pgen.engine.evaluation.evaluate import evaluate
from pgen.engine.inference.deploy import encode_images
from pgen.engine.inference.reconstruct import can_reconstruct, images_for, reconstruct
from pgen.engine.inference.sampler import make_sampler
from pgen.engine.runtime.device import choose_device
from pgen.engine.runtime.rich_progress import show_progress
from pgen.engine.training.setup import create_run, resume_run
from pgen.errors import ConfigError, DataError, RunError, option
from pgen.plugins import registry
from pgen.plugins.requests import DeployRequest
from pgen.utils.files import atomic_write

#: What data may be given as: a source string or path, images, an array (N, H, W) or (N, C, H, W),
#: or latent codes.
Data = str | Path | ImageSet | LatentCodes | npt.NDArray | torch.Tensor

__all__ = ["Run", "evaluate", "load", "open_images", "split", "train"]


class Run(runs.Run):
    """A trained model: what :func:`train` and :func:`load` return.

    Attributes:
        folder: Its directory.
        settings: Options of training.
        config: Options of the model.
    """

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.folder.path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The logged training metrics, one dictionary per line of metrics.jsonl."""
        return self.folder.read_metrics()

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        checkpoint: str | int = "best",
        decoder: str | Path | None = None,
        batch_size: int = 256,
        **options: Any,
    ) -> ArrayImages:
        """Generate images.

        Args:
            n: Number of images.
            seed: Seed of the random numbers.
            checkpoint: "best", "last" or a step.
            decoder: Auto-encoder run that decodes latent codes; None for the run's own copy.
            batch_size: Images generated at once; other sizes give other images.
            options: Conditions, as ``type="proton", momentum=300``, and the model's sampling
                options.

        Returns:
            Images in charge units, with the labels they were generated for.

        Raises:
            ConfigError: There is no such option, or it cannot have this value.
            RunError: The model generates nothing.
        """
        conditions, sampling = self.split_options({name: str(value) for name, value in options.items()})
        run = self.with_sampling_options(sampling)
        model = run.load_model(str(checkpoint))
        sampler = make_sampler(run, model, run.image_decoder(None if decoder is None else str(decoder)), conditions)
        with show_progress("sampling") as progress:
            batches = list(sampler.batches(n, seed, batch_size, progress.images))
        labels = {name: np.concatenate([batch.labels[name] for batch in batches]) for name in batches[0].labels}
        pixels = np.concatenate([batch.images for batch in batches])
        samples = ArrayImages(pixels, name=f"samples of {self.path.name}", labels=labels, unit=sampler.unit)
        samples.zero_suppression = sampler.threshold
        return samples

    def encode(self, images: Data | None = None, *, batch_size: int = 256) -> LatentCodes:
        """Encode images with the best checkpoint of an auto-encoder.

        Args:
            images: The images; None for those it was trained on.
            batch_size: Images encoded at once.

        Returns:
            Latent codes, targets of ``pgen.train("flow", targets=...)``, which remember their
            decoder.

        Raises:
            RunError: The model is no auto-encoder.
            DataError: The images have another shape or unit.
        """
        model = self._load_autoencoder()
        image_set = images_for(self, None, None) if images is None else _as_images(images, self.info.unit)
        _require_fits(self, image_set)
        with show_progress("encoding") as self.progress:
            codes = encode_images(self, model, image_set, self.folder.weights, batch_size)
        return replace(codes, folder=self.folder.weights.parent)

    def reconstruct(self, images: Data | None = None, *, batch_size: int = 256) -> ArrayImages:
        """Encode and decode images with the best checkpoint of an auto-encoder.

        Return them in charge units.
        """
        model = self._load_autoencoder()
        image_set = images_for(self, None, None) if images is None else _as_images(images, self.info.unit)
        _require_fits(self, image_set)
        pixels = np.concatenate([batch.images for batch in reconstruct(self, model, image_set, batch_size)])
        return ArrayImages(
            pixels, name="reconstructions", ids=image_set.ids, events=image_set.events, labels=image_set.labels, unit=image_set.unit
        )

    def deploy(self, out: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write latent codes or an exported program, as `pgen deploy` does; return the files."""
        request = DeployRequest(out=Path(out) if out is not None else self.path / "deploy", overwrite=overwrite)
        with show_progress("deploying") as self.progress:
            return hooks.call(self, "deploy", request=request)

    def _load_autoencoder(self) -> torch.nn.Module:
        model = self.load_model()
        if not can_reconstruct(model):
            raise RunError(f"{self.path} holds {self.plugin.spec.name!r}, which encodes nothing; use an auto-encoder run.")
        return model


def open_images(source: str | Path, *, data_root: str | Path | None = None, max_skipped: str | None = None) -> ImageSet:
    """Open images from a source, as ``events.root:plane=2`` or ``simulate:n=100``.

    Args:
        source: A file, folder or pattern, with options after a colon; ``mnist`` or ``simulate``.
        data_root: Folder that a relative path starts from.
        max_skipped: Most events that may be skipped, as a number or as "10%".

    Returns:
        A map-style dataset of float32 images (C, H, W), read on demand.

    Raises:
        DataError: The source cannot be read.
    """
    limit = {} if max_skipped is None else {"max_skipped": max_skipped}
    images = sources.open_images(str(source), data_root=None if data_root is None else str(data_root), **limit)
    if data_root is None:
        images.source = str(source)
    return images


def train(
    model: str,
    *,
    data: Data | None = None,
    targets: Data | None = None,
    held_out: Data | None = None,
    save_root: str | Path = "runs",
    resume: str | Path | None = None,
    **options: Any,
) -> Run:
    """Train a model.

    Arrays, views and latent codes are written to ``save_root/data`` first, so that the run can be
    resumed and evaluated by anyone who has its folder.

    Args:
        model: Name of the model: "ae", "ewm", "flow", "gan" or that of a plug-in.
        data: Training images.
        targets: Latent codes or images, for ewm and flow.
        held_out: Real images, or codes, kept out of training, by which the best checkpoint is
            chosen.
        save_root: Folder in which the run gets a folder of its own.
        resume: Run to train further, in place of data.
        options: Those of ``pgen train MODEL --help``, with underscores.

    Returns:
        The trained run.

    Raises:
        ConfigError: There is no such option, or options do not fit together.
        DataError: The data cannot be used.
    """
    plugin = registry.load(model)
    values = {name: value for name, value in options.items() if value is not None}
    root = Path(save_root)
    for name, value in (("data", data), ("targets", targets), ("held_out", held_out)):
        if value is not None:
            values[name] = _as_source(value, root)
    if resume is None:
        values["save_root"] = str(root)
        defaults: tuple[dict[str, Any], dict[str, Any]] = (dict(plugin.spec.settings), {})
    else:
        run = runs.Run.open(resume)
        if run.plugin.entry.name != model:
            raise ConfigError(f"{option('resume', resume)} holds a run of {run.plugin.entry.name!r}, not of {model!r}.")
        defaults = (run.settings.model_dump(), run.config.model_dump())
    settings, config = validate_options([(TrainConfig, defaults[0]), (plugin.config_class(), defaults[1])], values)
    with show_progress(f"training {model}") as progress:
        if resume is None:
            session = create_run(model, settings, config, progress=progress)  # type: ignore[arg-type]
        else:
            session = resume_run(resume, settings, progress=progress)  # type: ignore[arg-type]
        path = hooks.train_session(session)
    return load(path)


def load(path: str | Path, *, device: str | None = None) -> Run:
    """Open a trained run.

    Args:
        path: Its directory.
        device: Where to compute: "auto", "cpu", "cuda" or "cuda:i"; None for the device it was
            trained on.

    Raises:
        RunError: There is no run.
    """
    return Run.open(path, device=None if device is None else choose_device(device))


def _as_images(data: Data, unit: str = "ADC") -> ImageSet:
    """Open data as images; arrays are taken to be in ``unit``."""
    if isinstance(data, LatentCodes):
        raise DataError("Latent codes were given in place of images.")
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, str | Path):
        return open_images(data)
    return ArrayImages(np.asarray(data), unit=unit)


def _require_fits(run: runs.Run, images: ImageSet) -> None:
    if (images.shape, images.unit) != (run.info.shape, run.info.unit):
        raise DataError(
            f"{images.name}: images {images.shape} in {images.unit!r}, but {run.folder.path} was trained on {run.info.shape} in "
            f"{run.info.unit!r}."
        )


def _as_source(data: Data, root: Path) -> str:
    """Return a source string for data.

    What has none is written to ``root/data``, named by its fingerprint.
    """
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, LatentCodes):
        folder = root / "data" / data.fingerprint[:16]
        path = folder / "codes.pt"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            if (decoder := data.decoder) is not None:
                data = replace(data, encoder={**data.encoder, "file": "decoder.safetensors"})
                with atomic_write(folder / "decoder.safetensors") as draft:
                    shutil.copyfile(decoder, draft)
            data.save(path)
        return str(path)
    images = _as_images(data)
    if images.source is not None:
        return images.source
    path = root / "data" / f"{images.fingerprint[:16]}.h5"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_images(path, images)
    return str(path)
