"""A toy simulation of particles in liquid argon."""
