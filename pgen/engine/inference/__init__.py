"""Sampling, encoding, deployment and their cost."""
