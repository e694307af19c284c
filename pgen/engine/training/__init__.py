"""Training: session, loop, checkpoints and model selection."""
