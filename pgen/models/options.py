"""Types of options that the built-in models share. No torch here."""

from typing import Literal

Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
