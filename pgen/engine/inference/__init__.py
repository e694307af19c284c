"""Use of trained models: sampling, reconstruction, deployment and their cost."""
