"""Metrics of how well generated images resemble real ones."""
