"""Training: sessions, the loop, checkpoints and model selection."""
