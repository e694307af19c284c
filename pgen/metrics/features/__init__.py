"""Quantities and features of images."""
