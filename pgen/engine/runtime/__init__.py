"""Devices, seeds, signals and progress."""
