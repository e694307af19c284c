"""Metrics: arrays in, a named result out. No files, no plots."""
