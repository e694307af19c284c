"""A run on disk: its directory, the model plug-in and the options it was trained with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from pgen._version import __version__
from pgen.data.labels import convert_labels
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.decoder import ImageDecoder, make_image_decoder
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import extra_state, load_module, load_state, read_header, save_weights
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.conditions import encode, load_labels
from pgen.engine.dataloading.dataset import TrainingDataset, open_training_data
from pgen.engine.dataloading.moved_sources import locate_sources, missing_sources
from pgen.engine.runtime.device import choose_device
from pgen.engine.runtime.progress import Progress, logger
from pgen.engine.runtime.seeding import derive, generator
from pgen.errors import ConfigError, DataError, PgenError, PluginError, RunError, listed, one_line, option, validation_messages
from pgen.plugins import registry
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import DataInfo, ModelConfig

UNSIGNED = "negative charge counts as 0: a version of pgen began this run that knew no signed charge; begin a new run to keep it"


@dataclass
class Run:
    """A model with its options and its directory.

    Attributes:
        folder: Where config, checkpoints, weights and logs are.
        plugin: The model plug-in.
        settings: Options of training.
        config: Options of the model.
        device: Where it computes.
        progress: What long work reports to.
        processes: How many processes share this machine's memory.
        began_in: The working directory in which training began, where it is known.
    """

    folder: RunDirectory
    plugin: Plugin
    settings: TrainConfig
    config: ModelConfig
    device: torch.device
    progress: Progress = field(default_factory=Progress)
    processes: int = 1
    began_in: str | None = None

    @classmethod
    def open(cls, path: str | Path, *, device: torch.device | None = None, progress: Progress | None = None) -> Self:
        """Open a run with the options it was trained with.

        Args:
            path: Its directory.
            device: Where to compute; None for the device it was trained on.
            progress: What long work reports to.

        Raises:
            RunError: There is no run, or its config.json does not fit this version.
            PluginError: The model's plug-in is not installed or is broken.
        """
        folder = RunDirectory.open(path)
        saved = folder.read_config()
        plugin = _load_plugin(folder, saved)
        config = plugin.options(saved["config"], folder.config)
        try:
            settings = TrainConfig.model_validate(saved["settings"])
            DataInfo.from_dict(saved["data"])
        except (ValueError, KeyError, TypeError) as error:
            reason = one_line(error)
            raise RunError(f"{folder.config} does not fit pgen {__version__}: {reason}. Install the version it came from.") from error
        began_in = saved.get("began_in")
        began_in = began_in if isinstance(began_in, str) else None
        device = device or choose_device(settings.device, settings.gpu)
        return cls(folder, plugin, locate_sources(settings, began_in), config, device, progress or Progress(), began_in=began_in)

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}, model={self.plugin.entry.name!r}, device={str(self.device)!r})"

    @cached_property
    def info(self) -> DataInfo:
        """Facts about the training data, from config.json."""
        return DataInfo.from_dict(self.folder.read_config()["data"])

    @cached_property
    def data(self) -> TrainingDataset:
        """The training data.

        Raises:
            DataError: They are gone, or no longer those that the run began with.
        """
        self.require_sources("data", "dataset", "targets")
        dataset = open_training_data(self.settings, self.plugin.spec, self.processes)
        if not self.folder.config.is_file():
            return dataset
        if dataset.info.fingerprint != self.info.fingerprint:
            raise DataError(
                f"{dataset.info.name} has changed since {self.folder.path} was trained on it, or is another set; restore the data, name "
                "where they lie now, or start a new run."
            )
        self._check_labels(dataset)
        # The model was made for the facts in config.json; computed again they might differ by the
        # version of pgen. Also the transform: a run of an earlier version is unsigned, whatever the
        # data hold.
        is_signed = dataset.info.signed
        self.__dict__["info"] = replace(self.info, name=dataset.info.name)
        return replace(dataset, info=self.info, notes=dataset.notes if is_signed == self.info.signed else (f"warning: {UNSIGNED}",))

    def require_sources(self, *options: str) -> None:
        """Raise DataError if data of an existing run that these options name are gone."""
        missing = missing_sources(self.settings) if self.folder.config.is_file() else {}
        for name, source in missing.items():
            if name in options:
                places = dict.fromkeys([str(Path.cwd()), *([self.began_in] if self.began_in else [])])
                searched = "" if Path(source).is_absolute() else f" (not in {' or '.join(places)})"
                way_out = f"give {option('data' if name == 'dataset' else name)} with the path they have now"
                raise DataError(f"{source}: the data of {self.folder.path} are gone{searched}; {way_out}.")

    def _check_labels(self, dataset: TrainingDataset) -> None:
        """Raise DataError if labels of the conditions have changed since the run began."""
        if not self.info.conditions or not self.folder.labels.is_file():
            return
        saved = load_labels(self.folder.labels, self.info.conditions)
        labels = {name: convert_labels(dataset.samples.labels[name], values, name) for name, values in saved.items()}
        if changed := [name for name, values in saved.items() if not np.array_equal(values, labels[name])]:
            raise DataError(
                f"{dataset.info.name}: its labels {', '.join(changed)} have changed since {self.folder.path} was trained on them."
            )

    @property
    def criterion(self) -> str:
        """Name, as it is logged, of the metric by which checkpoints are compared."""
        return f"held_out_{self.settings.best_by or self.plugin.spec.best}"

    def new_model(self, info: DataInfo | None = None) -> nn.Module:
        """Create the untrained model on the run's device.

        Its initial weights follow from the seed.
        """
        torch.manual_seed(derive(self.settings.seed, "init"))
        return self.plugin.model_class()(self.config, info or self.info).to(self.device)

    def load_model(self, checkpoint: str = "best") -> nn.Module:
        """Load the trained model in evaluation mode.

        Args:
            checkpoint: "best", "last" or the number of a step. With ":raw" appended, the weights
                themselves in place of their exponential moving average.
        """
        return self.load_checkpoint(checkpoint)[0]

    def load_checkpoint(self, checkpoint: str = "best") -> tuple[nn.Module, int]:
        """Load a model as :meth:`load_model` does, and the step it was saved at.

        Raises:
            ConfigError: There is no such checkpoint.
            RunError: Weights or checkpoint cannot be read.
        """
        which, colon, raw = checkpoint.partition(":")
        if which == "best" and not colon:
            model, header = load_module(self.folder.weights, {name: getattr(self.config, name) for name in self.config.sampling})
            if self.settings.ema and not header.trained_extra_state:
                self._restore_extra_state(model, header.step)
            return self.prepare_sampling(model.to(self.device), log=True), header.step
        if (which not in ("best", "last") and not re.fullmatch("[0-9]+", which)) or (colon and raw != "raw"):
            steps = listed(checkpoints.steps(self.folder))
            raise ConfigError(
                f"{option('checkpoint', checkpoint)}: expected best, last or a step, optionally with :raw; {self.folder.path} has {steps}."
            )
        step = read_header(self.folder.weights).step if which == "best" else None if which == "last" else int(which)
        state = checkpoints.load(self.folder, step)
        model = self.new_model()
        load_state(model, state.model if raw else state.inference_state, checkpoints.path_of(self.folder, state.step))
        return self.prepare_sampling(model.eval(), log=True), state.step

    @torch.no_grad()
    def prepare_sampling(self, model: nn.Module, *, log: bool = False) -> nn.Module:
        """Prepare a model in evaluation mode for sampling, by its ``prepare_sampling``.

        The random numbers are the same each time, so that samples follow from weights, options and
        seed.
        """
        if callable(getattr(model, "prepare_sampling", None)):
            conditions = self.info.conditions
            labels = encode(conditions, load_labels(self.folder.labels, conditions)).to(self.device) if conditions else None
            noise = generator(self.settings.seed, "prepare sampling", device=self.device)
            write = logger.info if log else lambda text: None
            model.prepare_sampling(generator=noise, conditions=labels, log=write)  # type: ignore[operator]
        return model

    def _restore_extra_state(self, model: nn.Module, step: int) -> None:
        """Take the extra state from a checkpoint; earlier versions saved the untrained one."""
        state = model.state_dict()
        if not extra_state(state):
            return
        try:
            trained = extra_state(checkpoints.load(self.folder, step).model)
        except PgenError:
            logger.warning(
                f"{self.folder.weights} is from an earlier version of pgen: its weights are an average, but its extra state (counters) is "
                f"that of the untrained model, and the checkpoint of step {step} that has the trained one is gone. Samples may be worse "
                "than the model's. Use another --checkpoint, or train again."
            )
            return
        load_state(model, {**state, **trained}, checkpoints.path_of(self.folder, step))

    def save_weights(self, state: dict[str, Any], step: int, path: Path | None = None) -> None:
        """Write a model's state as a weights file, which is enough to use the model."""
        save_weights(
            path or self.folder.weights,
            state,
            model=self.plugin.spec.name,
            config=self.config,
            data=self.info,
            step=step,
            averaged=bool(self.settings.ema),
            guard=self.folder.is_in_place,
        )

    def image_decoder(self, decoder: str | None = None) -> ImageDecoder:
        """Return the map from model space to charge, on the run's device.

        Args:
            decoder: Auto-encoder run that decodes the latent codes; None for the run's own copy.
        """
        return make_image_decoder(self.info, self.folder.decoder, decoder).to(self.device)

    def split_options(self, values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Split options of `pgen sample` into conditions and sampling options of the model.

        Args:
            values: Option name to text, as ``{"type": "proton", "steps": "8"}``.

        Returns:
            Values of conditions, and values of sampling options.

        Raises:
            ConfigError: An option is neither.
        """
        conditions = [condition.name for condition in self.info.conditions]
        names = (*conditions, *self.config.sampling)
        if unknown := [option(name) for name in values if name not in names]:
            available = ", ".join(map(option, names)) or "none"
            raise ConfigError(f"{', '.join(unknown)}: no such option; those that {self.folder.path} adds: {available}.")
        return (
            {name: value for name, value in values.items() if name in conditions},
            {name: value for name, value in values.items() if name not in conditions},
        )

    def with_sampling_options(self, values: Mapping[str, Any]) -> Self:
        """Return this run with other values of the model's sampling options.

        Raises:
            ConfigError: A value is not valid.
        """
        if not values:
            return self
        try:
            config = type(self.config).model_validate({**self.config.model_dump(), **values})
        except ValidationError as error:
            raise ConfigError("; ".join(validation_messages(error)) + ".") from error
        return replace(self, config=config)


def _load_plugin(folder: RunDirectory, saved: Mapping[str, Any]) -> Plugin:
    """Load the plug-in that trained a run, or raise PluginError that names its package."""
    name, about = saved["model"], saved.get("plugin")
    distribution, version = (about.get(key) for key in ("distribution", "version")) if isinstance(about, dict) else (None, None)
    is_own = distribution in ("pgen", "pgen-lartpc")
    if name in registry.names() or is_own or not (isinstance(distribution, str) and isinstance(version, str)):
        return registry.load(name)
    try:
        state = f"the installed {distribution} {metadata.version(distribution)} has no such model"
    except (metadata.PackageNotFoundError, ValueError):
        state = "which is not installed"
    raise PluginError(
        f"{folder.path} was trained by the model {name!r} of {distribution} {version}, {state}; install that package, as by "
        f"pip install '{distribution}=={version}'."
    )
