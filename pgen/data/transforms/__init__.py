"""Transforms of images and latent codes: charge scales, zero suppression, crops, splits."""
