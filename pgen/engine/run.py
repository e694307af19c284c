"""A run: the folder, the plug-in and its options, opened to train, deploy or sample."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import pgen
from pgen.data.io.sources import open_images
from pgen.data.labels import convert_labels
from pgen.engine import hooks as defaults
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.decoder import ImageDecoder, make_image_decoder
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import load_module, load_state, read_header, save_weights
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.conditions import ConditionSampler, encode, load_labels, save_labels
from pgen.engine.dataloading.dataset import TrainingDataset, open_held_out, open_training_data
from pgen.engine.dataloading.moved_sources import locate_sources, missing_sources
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.monitoring.loggers import Logger
from pgen.engine.output_checks import check_samples
from pgen.engine.runtime.device import choose_device
from pgen.engine.runtime.progress import Reporter
from pgen.engine.runtime.seeding import derive, generator
from pgen.engine.training.ema import extra_state
from pgen.errors import PgenError, PluginError, listed, one_line, option_name, validation_messages
from pgen.plugins import registry
from pgen.plugins.entry_points import cause
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import DataInfo, ModelConfig
from pgen.utils.files import atomic

UNSIGNED = "warning: negative charge counts as 0: a version of pgen began this run that knew no signed charge; begin a new run to keep it"


@dataclass
class Run:
    """One model with its options and its folder. ``data``, ``to_images`` and ``new_model`` are made when first asked for.

    ranks: the processes that train it together. profile: whether to look where the time goes. stopped_by: number of the signal that ended
    training early, or None. sinks: where metrics go besides the run folder. wanted: what samples are to be
    of, by condition (:meth:`ask`).
    """

    folder: RunDirectory
    plugin: Plugin
    settings: TrainConfig
    config: ModelConfig
    device: torch.device
    reporter: Reporter = field(default_factory=Reporter)
    ranks: ProcessGroup = field(default_factory=ProcessGroup)
    profile: bool = False
    stopped_by: int | None = None
    sinks: list[Logger] = field(default_factory=list)
    wanted: Mapping[str, str] = field(default_factory=dict)
    began_in: str | None = None
    _reported: set[str] = field(default_factory=set, init=False, repr=False)

    def ensure_directory(self) -> None:
        """Make the run folder again, should someone have removed it while the run goes on. UserError where another lies in its place."""
        if not self.folder.is_in_place():
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self.folder.acquire_lock()
            self.write_metadata(self.folder)
            self.log(f"{self.folder.path} had been removed, and was made again")

    @classmethod
    def open(cls, path: str | Path, *, device: torch.device | None = None, reporter: Reporter | None = None) -> Run:
        """The run in a folder, with the options that it was trained with, on ``device`` (None: the one that it was trained on)."""
        folder = RunDirectory.open(path)
        saved = folder.read_config()
        plugin = _load_plugin(folder, saved)
        config = plugin.options(saved["config"], folder.config)
        try:
            settings = TrainConfig.model_validate(saved["settings"])
            DataInfo.from_dict(saved["data"])
        except (ValueError, KeyError, TypeError) as error:
            reason = one_line(error)
            raise PgenError(f"{folder.config} does not fit pgen {pgen.__version__}: {reason}. Install the version it came from.") from error
        device = device or choose_device(settings.device, settings.gpu)
        began_in = saved.get("began_in")
        began_in = began_in if isinstance(began_in, str) else None
        return cls(folder, plugin, locate_sources(settings, began_in), config, device, reporter or Reporter(), began_in=began_in)

    def write_metadata(self, folder: RunDirectory) -> None:
        """Write what makes a folder a run, before it is trained."""
        if (decoder := self.data.decoder()) is not None:
            with atomic(folder.decoder) as draft:
                shutil.copyfile(decoder, draft)
        if self.info.conditions:
            save_labels(folder.labels, self.info.conditions, self.data.samples.labels)
        folder.write_config(self.metadata())

    def metadata(self) -> dict[str, Any]:
        """What config.json holds."""
        versions = {"pgen": pgen.__version__, "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()}
        entry = self.plugin.entry
        return {
            "model": entry.name,
            "plugin": {"distribution": entry.distribution, "version": entry.version},
            "settings": self.settings.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "data": self.info.to_dict(),
            "generates": callable(getattr(self.plugin.model_class(), "sample", None)),
            "held_out": self.held_out_fingerprint,
            "began_in": self.began_in,
            "ranks": self.ranks.count,
            "versions": versions,
        }

    def log(self, text: str) -> None:
        """A line for the log and for the user, of the first rank."""
        if self.ranks.rank == 0:
            self.attempt("log.txt", lambda: self._append_log(text))
            self.reporter.message(text)

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Metrics after ``step`` steps, to wherever they are kept, by the first rank."""
        if self.ranks.rank == 0:
            self.attempt("metrics.jsonl", lambda: self._append_metrics({"step": step, **values}))
            for sink in self.sinks:
                sink.log_scalars(step, values)

    def attempt(self, name: str, write: Callable[[], object], faults: type[Exception] = OSError) -> None:
        """Write what training does not depend on, called ``name``. What fails by one of ``faults``, as on a full disk, is reported once."""
        try:
            write()
        except PluginError:
            raise  # a model that does not keep to what pgen asks is better stopped
        except faults as error:
            if name not in self._reported:
                self._reported.add(name)
                reason = error.strerror if isinstance(error, OSError) else cause(error, self.plugin.entry.package)
                self.reporter.message(f"warning: {name} cannot be written ({reason}); training continues without it")

    def _append_log(self, text: str) -> None:
        self.ensure_directory()
        self.folder.append_log(text)

    def _append_metrics(self, line: dict[str, Any]) -> None:
        self.ensure_directory()
        self.folder.append_metrics(line)

    @cached_property
    def data(self) -> TrainingDataset:
        """The training data. UserError where they are no longer what the run began with."""
        self._need(("data", "dataset", "targets"))
        data = open_training_data(self.settings, self.plugin.spec, self.ranks.count)
        if not self.folder.config.is_file():
            return data
        if data.info.fingerprint != self.info.fingerprint:
            raise PgenError(
                f"{data.info.name} has changed since {self.folder.path} was trained on it, or is another set; restore the data, name where "
                "they lie now, or start a new run."
            )
        self._check_labels(data)
        # What the model was made for; found anew it might differ, by another version of pgen. The transform too: of a run of an earlier
        # version it is unsigned, whatever the data hold.
        is_signed = data.info.signed
        self.__dict__["info"] = replace(self.info, name=data.info.name)
        return replace(data, info=self.info, notes=data.notes if is_signed == self.info.signed else (UNSIGNED,))

    def _need(self, options: tuple[str, ...]) -> None:
        """UserError, with a way out, for data of an existing run that are gone."""
        missing = missing_sources(self.settings) if self.folder.config.is_file() else {}
        for option, source in missing.items():
            if option in options:
                places = dict.fromkeys([str(Path.cwd()), *([self.began_in] if self.began_in else [])])
                searched = "" if Path(source).is_absolute() else f" (not in {' or '.join(places)})"
                name = option_name("data" if option == "dataset" else option)
                raise PgenError(f"{source}: the data of {self.folder.path} are gone{searched}; give {name} with the path they have now.")

    def _check_labels(self, data: TrainingDataset) -> None:
        """UserError where the labels that the model is conditioned on are others than when the run began."""
        if not self.info.conditions or not self.folder.labels.is_file():
            return
        kept = load_labels(self.folder.labels, self.info.conditions)
        labels = {name: convert_labels(data.samples.labels[name], values, name) for name, values in kept.items()}
        if changed := [name for name, values in kept.items() if not numpy.array_equal(values, labels[name])]:
            raise PgenError(f"{data.info.name}: its labels {', '.join(changed)} have changed since {self.folder.path} was trained on them.")

    @cached_property
    def held_out(self) -> TrainingDataset | None:
        """The held-out data that the model looks at. UserError where they are those trained on."""
        self._need(("held_out",))
        return open_held_out(self.settings, self.info, self.ranks.count)

    @cached_property
    def held_out_fingerprint(self) -> str | None:
        """Of the held-out data by which checkpoints are judged, whoever looks at them."""
        settings = self.settings
        if settings.held_out is None or self.held_out is not None:
            return self.held_out.info.fingerprint if self.held_out else None
        return open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped).fingerprint

    @cached_property
    def info(self) -> DataInfo:
        """Facts of the training data, as config.json keeps them."""
        return DataInfo.from_dict(self.folder.read_config()["data"])

    def new_model(self, info: DataInfo | None = None) -> nn.Module:
        """The untrained model on the run's device. Its first weights follow from the seed, whatever was drawn before."""
        torch.manual_seed(derive(self.settings.seed, "init"))
        return self.plugin.model_class()(self.config, info or self.info).to(self.device)

    def load_model(self, checkpoint: str = "best") -> nn.Module:
        """The trained model in evaluation mode: ``best``, ``last``, or a step that has a checkpoint; followed by ``:raw``, with the weights
        themselves where a run keeps a running average of them."""
        return self.load(checkpoint)[0]

    def load(self, checkpoint: str = "best") -> tuple[nn.Module, int]:
        """:meth:`load_model`, and after how many steps the model was so."""
        which, colon, raw = checkpoint.partition(":")
        if which == "best" and not colon:
            model, header = load_module(self.folder.weights, {name: getattr(self.config, name) for name in self.config.sampling})
            if self.settings.ema and not header.trained_extra_state:
                self._restore_extra_state(model, header.step)
            return self.prepare_sampling(model.to(self.device), self.reporter.message), header.step
        if (which not in ("best", "last") and not re.fullmatch("[0-9]+", which)) or (colon and raw != "raw"):
            has = listed(checkpoints.steps(self.folder))
            raise PgenError(f"--checkpoint {checkpoint}: wanted best, last or a step, perhaps with :raw; {self.folder.path} has {has}.")
        step = read_header(self.folder.weights).step if which == "best" else None if which == "last" else int(which)
        state = checkpoints.load(self.folder, step)
        model = self.new_model()
        load_state(model, state.model if raw else state.inference_state, checkpoints.path_of(self.folder, state.step))
        return self.prepare_sampling(model.eval(), self.reporter.message), state.step

    @torch.no_grad()
    def prepare_sampling(self, model: nn.Module, log: Callable[[str], None]) -> nn.Module:
        """``model``, in evaluation mode, ready to sample as the options say: its own ``prepare_sampling`` is called, if it has one.

        The random numbers are the same each time, so that samples follow from weights, options and seed.
        """
        if callable(getattr(model, "prepare_sampling", None)):
            conditions = self.info.conditions
            labels = encode(conditions, load_labels(self.folder.labels, conditions)).to(self.device) if conditions else None
            random = generator(self.settings.seed, "prepare sampling", device=self.device)
            model.prepare_sampling(generator=random, conditions=labels, log=log)  # type: ignore[operator]
        return model

    def _restore_extra_state(self, model: nn.Module, step: int) -> None:
        """Give averaged weights of an earlier version, which kept the extra state of the untrained model, that of the checkpoint."""
        state = model.state_dict()
        if not extra_state(state):
            return
        try:
            trained = extra_state(checkpoints.load(self.folder, step).model)
        except PgenError:
            self.reporter.message(
                f"warning: {self.folder.weights} is of an earlier version of pgen: its weights are an average, but its counters (extra "
                f"state) those of the untrained model, and the checkpoint of step {step} that has the right ones is gone. Samples may be "
                "worse than the model's. Use a --checkpoint that is there, or train again."
            )
            return
        load_state(model, {**state, **trained}, checkpoints.path_of(self.folder, step))

    def save_weights(self, state: dict[str, Any], step: int, path: Path | None = None) -> None:
        """Write a model's state as a weights file: all that is needed to use the model."""
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

    def to_images(self, decoder: str | None = None) -> ImageDecoder:
        """The way from model space to charge units, on the run's device."""
        return make_image_decoder(self.info, self.folder.decoder, decoder).to(self.device)

    def set_sampling_options(self, given: Mapping[str, str]) -> None:
        """Take in what samples are to be of (``type`` to ``proton``), and how they are to be made: the model's options of
        sampling. UserError for anything else."""
        conditions = [condition.name for condition in self.info.conditions]
        if strange := [option_name(name) for name in given if name not in (*conditions, *self.config.sampling)]:
            takes = ", ".join(map(option_name, (*conditions, *self.config.sampling))) or "none"
            raise PgenError(f"{', '.join(strange)}: no such option; those that {self.folder.path} adds: {takes}.")
        options = {name: value for name, value in given.items() if name not in conditions}
        try:
            self.config = type(self.config).model_validate({**self.config.model_dump(), **options})
        except ValidationError as error:
            raise PgenError("; ".join(validation_messages(error)) + ".") from error
        self.condition_values = {name: value for name, value in given.items() if name in conditions}

    def condition_sampler(self) -> ConditionSampler | None:
        """What samples are made for; None for a model without conditions."""
        conditions = self.info.conditions
        if not conditions:
            return None
        return ConditionSampler.of(conditions, load_labels(self.folder.labels, conditions), self.condition_values, self.reporter.message)

    @torch.no_grad()
    def draw(self, model: nn.Module, n: int, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """n samples in model space, for ``condition`` (n, K) where the model has conditions. UserError for a model that cannot sample."""
        if not callable(getattr(model, "sample", None)):
            name = self.plugin.spec.name
            raise PgenError(
                f"{self.folder.path} holds {name!r}, which generates nothing; deploy it, then `pgen train ewm --targets codes.pt`."
            )
        told = {} if condition is None else {"condition": condition}
        samples = model.sample(n, generator=generator, **told)  # type: ignore[operator]
        check_samples(self.plugin, samples, n, self.info.shape)
        return samples

    def hooks(self) -> Any:
        """The plug-in's hooks, with the engine's own behind them for those it does not have."""
        if not self.plugin.manager.has_plugin("engine"):
            self.plugin.manager.register(defaults, name="engine")
        return self.plugin.manager.hook


def _load_plugin(folder: RunDirectory, saved: Mapping[str, Any]) -> Plugin:
    """The plug-in that a run was trained by. UserError where it is not installed, which names its package."""
    name, about = saved["model"], saved.get("plugin")
    distribution, version = (about.get(key) for key in ("distribution", "version")) if isinstance(about, dict) else (None, None)
    if name in registry.names() or distribution == "pgen" or not (isinstance(distribution, str) and isinstance(version, str)):
        return registry.load(name)
    try:
        state = f"the installed {distribution} {metadata.version(distribution)} has no such model"
    except (metadata.PackageNotFoundError, ValueError):
        state = "which is not installed"
    raise PgenError(
        f"{folder.path} was trained by the model {name!r} of {distribution} {version}, {state}; install that package, as by "
        f"pip install '{distribution}=={version}'."
    )
