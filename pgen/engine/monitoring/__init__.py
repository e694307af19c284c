"""Metrics, loggers and the profiler of training."""
