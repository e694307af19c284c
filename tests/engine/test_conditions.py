"""Conditions: found among labels, encoded, sampled, and set on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from pgen.data import open_images
from pgen.data.formats.codes import load_codes
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.conditions import encode, find_conditions, load_labels, save_labels
from pgen.engine.dataloading.dataset import open_training_data
from pgen.engine.inference.condition_sampler import ConditionSampler
from pgen.errors import PgenError
from pgen.plugins.specs import DataInfo, ModelSpec

LABELS = {
    "pdg": np.array([11, 2212, 11, 2212, 22]),
    "momentum": np.array([100.0, 400.0, 200.0, 600.0, 50.0]),
    "place": np.array(["east", "west", "west", "west", "east"]),
    "event": np.arange(5.0),
    "same": np.ones(5),
    "vertex": np.zeros((5, 3)),
    "broken": np.array([1.5, np.nan, 2.5, 3.5, 4.5]),
}
CONDITIONS = find_conditions("type,momentum", LABELS, "x.h5")


@given(nps.arrays(np.int64, st.integers(2, 40), elements=st.integers(-3, 3)), st.data())
@settings(max_examples=50, deadline=None)
def test_classes_are_one_hot_and_numbers_are_standardised(classes: np.ndarray, data: st.DataObject) -> None:
    numbers = data.draw(nps.arrays(np.float64, len(classes), elements=st.floats(-1e6, 1e6)))
    if len(np.unique(classes)) < 2 or numbers.std() < 1e-3 or (numbers == np.round(numbers)).all():
        return
    labels = {"kind": classes, "size": numbers}
    conditions = find_conditions("kind,size", labels, "x")
    encoded = encode(conditions, labels).double()
    assert encoded.shape == (len(classes), len(np.unique(classes)) + 1)
    assert torch.equal(encoded[:, :-1].sum(1), torch.ones(len(classes), dtype=torch.float64))
    assert [conditions[0].classes[i] for i in encoded[:, :-1].argmax(1)] == classes.tolist()
    np.testing.assert_allclose(encoded[:, -1] * numbers.std() + numbers.mean(), numbers, atol=1e-5 * np.abs(numbers).max() + 1e-6)


def test_type_is_the_particle_and_conditions_survive_a_config_file() -> None:
    kind, momentum = CONDITIONS
    assert (kind.name, kind.label, kind.classes) == ("type", "pdg", (11, 22, 2212))
    assert (momentum.label, momentum.mean) == ("momentum", 270.0)
    (place,) = find_conditions("place", LABELS, "x.h5")
    info = DataInfo("images", (1, 8, 8), 5, transform={}, conditions=(*CONDITIONS, place))
    assert DataInfo.from_dict(info.to_dict()) == info and info.condition_size == 3 + 1 + 2


def test_whole_numbers_are_classes_in_any_dtype() -> None:
    values = np.array([3.0, 7.0, 3.0, 3.0, 7.0, 3.0])
    for kind in (np.float32, np.float64, np.int16):
        labels = {"kind": values.astype(kind)}
        (condition,) = find_conditions("kind", labels, "x.h5")
        assert condition.classes == (3, 7) and condition.example == "3"
        assert encode((condition,), labels).tolist() == [[1, 0], [0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]
        for value in ("7", "7.0"):
            assert ConditionSampler.from_training_labels((condition,), labels, {"kind": value}).rows["kind"].tolist() == [7, 7]
        for value in ("5", "3.5", "nan", "seven"):
            with pytest.raises(PgenError, match=f"`kind={value}`: the training images had none; expected one of 3, 7"):
                ConditionSampler.from_training_labels((condition,), labels, {"kind": value})
    # Numbers of which only some are whole, or which all differ, are measurements.
    for numbers in (values + 0.25, np.array([100.0, 231.0, 17.0, 5.0]), np.array([1.0, np.inf, 1.0, np.inf])):
        if np.isfinite(numbers).all():
            assert find_conditions("kind", {"kind": numbers}, "x.h5")[0].classes == ()
        else:
            with pytest.raises(PgenError, match="kind is not finite"):
                find_conditions("kind", {"kind": numbers}, "x.h5")


def test_all_faults_of_labels_are_reported_at_once() -> None:
    with pytest.raises(PgenError) as error:
        find_conditions("nothing,vertex,same,broken,pdg,type", LABELS, "x.h5")
    for part in (
        "nothing is no label",
        "vertex is (3,) numbers",
        "same is 1.0 for all",
        "broken is not finite",
        "named twice",
        "of x.h5 are: pdg,",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["h-y", "my label", "seed", "batch_size", "2nd"])
def test_labels_whose_names_cannot_be_options_are_refused(name: str) -> None:
    with pytest.raises(PgenError, match=f"{name} cannot be an option of pgen sample: rename the label"):
        find_conditions(name, {name: np.array([0, 1, 0])}, "x.h5")


def test_free_conditions_are_drawn_from_the_training_labels() -> None:
    random = torch.Generator().manual_seed(0)
    labels, encoded = ConditionSampler.from_training_labels(CONDITIONS, LABELS, {}).draw(2000, random)
    pairs = set(zip(labels["pdg"].tolist(), labels["momentum"].tolist(), strict=True))
    assert pairs == set(zip(LABELS["pdg"].tolist(), LABELS["momentum"].tolist(), strict=True))
    assert float(np.mean(labels["pdg"] == 11)) == pytest.approx(0.4, abs=0.05)
    assert torch.equal(encoded, encode(CONDITIONS, labels))
    # Protons get the momenta of protons.
    labels, _ = ConditionSampler.from_training_labels(CONDITIONS, LABELS, {"type": "proton"}).draw(200, random)
    assert set(labels["pdg"]) == {2212} and set(labels["momentum"]) == {400.0, 600.0}
    labels, _ = ConditionSampler.from_training_labels(CONDITIONS, LABELS, {"type": "2212", "momentum": "5e2"}).draw(3, random)
    assert set(labels["momentum"]) == {500.0}


def test_values_outside_the_training_labels_are_refused_or_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for values, sentence in (
        ({"type": "kaon"}, "expected one of 11, 22, 2212, electron, photon, proton"),
        ({"momentum": "fast"}, "expected a number, as 270"),
        ({"momentum": "nan"}, "expected a number"),
    ):
        with pytest.raises(PgenError, match=sentence):
            ConditionSampler.from_training_labels(CONDITIONS, LABELS, values)
    both = find_conditions("type,place", LABELS, "x")
    with pytest.raises(PgenError, match="no training image has this combination"):
        ConditionSampler.from_training_labels(both, LABELS, {"type": "photon", "place": "west"})
    ConditionSampler.from_training_labels(CONDITIONS, LABELS, {"type": "electron", "momentum": "300"})
    assert len(caplog.messages) == 1 and "momentum from 100 to 200" in caplog.messages[0]
    with pytest.raises(PgenError, match="`momentum`: not set"):
        ConditionSampler.from_values(CONDITIONS, {"type": "proton"})


def test_saved_labels_are_equal_and_damage_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    save_labels(path, CONDITIONS, LABELS)
    loaded = load_labels(path, CONDITIONS)
    assert all(np.array_equal(loaded[name], LABELS[name]) for name in ("pdg", "momentum"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PgenError, match=r"labels\.npz"):
        load_labels(path, CONDITIONS)
    path.unlink()
    with pytest.raises(PgenError, match="is missing"):
        load_labels(path, CONDITIONS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a conditional run of two stages, and its deployed generator."""
    from tests.conftest import SMALL_AE, run_pgen

    root = tmp_path_factory.mktemp("conditional")
    for arguments in (
        ("train", "ae", "--data", "simulate:n=60,size=16,seed=3", *SMALL_AE, "--condition", "type,momentum", "--max-steps", 3,
         "--name", "ae"),
        ("deploy", "runs/ae"),
        ("train", "flow", "--targets", "runs/ae/deploy/codes.pt", "--condition", "type,momentum", "--n-hidden", 16, "--max-steps", 40,
         "--ema", 0, "--name", "flow"),
        ("deploy", "runs/flow", "--n-steps", 3, "--solver", "euler"),
    ):  # fmt: skip
        done = run_pgen(*arguments, cwd=root)
        assert done.returncode == 0, done.stderr
    return root


def test_latent_codes_keep_the_labels_of_their_images(runs: Path) -> None:
    images, codes = open_images("simulate:n=60,size=16,seed=3"), load_codes(runs / "runs/ae/deploy/codes.pt")
    assert all(np.array_equal(codes.labels[name], images.labels[name]) for name in ("pdg", "momentum"))


def test_the_next_command_after_deploy_names_the_conditions(runs: Path, pgen, tmp_path: Path) -> None:
    result = pgen("deploy", "runs/ae", "--out", tmp_path, cwd=runs)
    assert "--condition type,momentum" in result.stderr + result.stdout


def test_conditions_are_set_on_the_command_line(runs: Path, pgen, tmp_path: Path) -> None:
    for source in ("runs/flow", "runs/flow/deploy/generator.pt2"):
        pgen("sample", source, "--type", "proton", "--momentum=400", "-n", 7, "--out", tmp_path / "x.h5", "--overwrite", cwd=runs)
        labels = open_images(str(tmp_path / "x.h5")).labels
        assert labels["pdg"].tolist() == [2212] * 7 and labels["momentum"].tolist() == [400] * 7
    pgen("sample", "runs/flow", "-n", 30, "--out", tmp_path / "y.h5", cwd=runs)
    assert len(set(open_images(str(tmp_path / "y.h5")).labels["pdg"])) > 2


def test_sampling_options_may_be_changed_after_training(runs: Path, pgen, tmp_path: Path) -> None:
    images = {}
    for name, more in (
        ("trained", ()),
        ("same", ("--n-steps", 16)),
        ("few", ("--n_steps", 3, "--solver", "euler")),
        ("far", ("--guidance", 3)),
    ):
        pgen("sample", "runs/flow", "-n", 6, *more, "--out", tmp_path / f"{name}.npz", cwd=runs)
        images[name] = np.load(tmp_path / f"{name}.npz")["images"]
    assert np.array_equal(images["trained"], images["same"])
    assert not np.array_equal(images["trained"], images["few"]) and not np.array_equal(images["trained"], images["far"])


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("sample", "runs/flow", "--out", "x.h5", "--seeed", 3), "--seeed: no such option; those that runs/flow adds: --type, --momentum, "),
    (("sample", "runs/flow", "--out", "x.h5", "--type"), "--type: no such option, or its value is missing"),
    (("sample", "runs/flow", "--out", "x.h5", "more"), "more: unexpected argument"),
    (("sample", "runs/flow", "--out", "x.h5", "--n-steps", 0), "--n-steps 0: Input should be greater"),
    (("sample", "runs/flow/deploy/generator.pt2", "--out", "x.h5", "--type", "muon"), "--momentum: not set"),
    (("sample", "runs/flow/deploy/generator.pt2", "--out", "x.h5", "--guidance", 2), "--guidance: no such option of"),
    (("deploy", "runs/flow", "--type", "muon", "--overwrite"), "give them to `pgen sample`"),
    (("train", "gan", "--data", "simulate:n=9", "--condition", "kind"), "kind is no label"),
])  # fmt: skip
def test_wrong_options_are_refused_with_a_message(arguments: tuple, sentence: str, runs: Path, refuses) -> None:
    refuses(*arguments, saying=sentence, cwd=runs)
    assert not (runs / "x.h5").exists()


def test_a_model_without_conditions_refuses_labels() -> None:
    settings = TrainConfig(data="simulate:n=9,size=16", condition="type")
    with pytest.raises(PgenError, match="model 'mine' is not conditional; leave it out"):
        open_training_data(settings, ModelSpec("mine", "", "", ""))
