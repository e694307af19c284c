"""Tests of whether generated images are copies of training images."""
