"""Evaluation of generated images, reconstructions and generators, without a terminal."""
