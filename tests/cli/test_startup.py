"""Help is quick because it imports no torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["train", "ewm", "--help"], ["train", "ae", "--dry-run"], ["models"]]
)
def test_no_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from pgen.cli.app import main
sys.argv = ["pgen", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_options_have_type_and_default(pgen) -> None:
    text = pgen("train", "gan", "--help").stdout
    for part in ("--z-dim", "--g-lr", "<float>", "100", "0.0002"):
        assert part in text
