"""Files, paths, text, memory and caches: what every package may use."""
