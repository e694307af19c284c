"""Device, random generators, progress and signals."""
