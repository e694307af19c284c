"""Exact assignment of samples to targets, on the CPU or a GPU, or streamed from the host."""
