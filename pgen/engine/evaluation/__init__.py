"""Evaluation of generated images, reconstructions and the cost of generators, as functions without a terminal."""
