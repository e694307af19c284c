"""The formats in which images are written. Imports nothing, for the command line's sake."""

from __future__ import annotations

from typing import Literal

Format = Literal["store", "npz", "png", "larcv3"]
