"""The version of pgen."""

__version__ = "0.1.0"
