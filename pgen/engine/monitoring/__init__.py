"""Metrics, loggers and the profiler."""
