"""Devices, run folder, training loop, checkpoints, deployment and sampling: everything a model does not own. Knows no model by name."""
