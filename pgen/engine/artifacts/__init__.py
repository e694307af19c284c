"""Files that training writes and inference reads: run directory, checkpoints, weights, programs."""
