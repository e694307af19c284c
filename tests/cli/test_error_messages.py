"""Messages of the library on the command line: parameters as flags, causes and remedies in one sentence."""

from __future__ import annotations

import errno

import pytest

from pgen.cli.error_messages import describe_error, exit_code, with_flags
from pgen.errors import ConfigError, DataError, LostRank, PgenError, format_list, option, option_name


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("`batch_size=0`: too small", "--batch-size 0: too small"),
        ("pass `overwrite`, or another `out`.", "pass --overwrite, or another --out."),
        ("`data=two words/x.h5:limit=3`: empty", "--data two words/x.h5:limit=3: empty"),
        ("run `pgen`, or `pgen data info x.h5`", "run `pgen`, or `pgen data info x.h5`"),
        ("a `Quoted` word and `x", "a `Quoted` word and `x"),
        ("", ""),
    ],
)
def test_parameters_become_flags(message: str, text: str) -> None:
    assert with_flags(message) == text


def test_parameters_are_named() -> None:
    assert option("held_out") == "`held_out`" and option("held_out", "x.h5") == "`held_out=x.h5`"
    assert option("n", 0) == "`n=0`" and option_name("g_lr") == "--g-lr"
    assert with_flags(f"{option('g_lr', -1)}: negative") == "--g-lr -1: negative"


def test_lists_are_cut() -> None:
    assert format_list([]) == "none" and format_list([1, 2]) == "1, 2"
    assert format_list(range(2000), 2, between="; ") == "0; 1; ... and 1,998 more"


def test_errors_are_described() -> None:
    assert describe_error(ConfigError(f"{option('size', 0)}: too small."), []) == "--size 0: too small."
    full = OSError(errno.ENOSPC, "No space left on device", "x.h5")
    assert describe_error(full, []) == "x.h5: No space left on device; free some space, or choose another place."
    for arguments, advice in (
        (["train", "gan", "--data", "x"], "smaller --batch-size or --sample-size"),
        (["--debug", "data", "simulate"], "use a smaller --size"),
        (["data", "merge"], "FILE:entries=0-1000"),
        (["doctor"], "run it where more is free"),
    ):
        message = describe_error(MemoryError("Unable to allocate 2.5 GiB for an array"), arguments)
        assert message.startswith("Not enough memory (2.5 GiB more): ") and advice in message


@pytest.mark.parametrize("defect", [KeyError("x"), OSError(errno.EINVAL, "Invalid argument")])
def test_defects_of_pgen_are_raised_again(defect: Exception) -> None:
    with pytest.raises(type(defect)) as caught:
        describe_error(defect, [])
    assert caught.value is defect


def test_exit_codes() -> None:
    assert exit_code(PgenError("x")) == exit_code(DataError("x")) == exit_code(MemoryError()) == 2
    assert exit_code(LostRank("x")) == 1
