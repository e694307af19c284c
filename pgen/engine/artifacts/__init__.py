"""Files of a run: directory, checkpoints, weights, exported programs."""
