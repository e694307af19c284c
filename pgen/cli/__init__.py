"""The command line. It parses, calls the library and shows results; commands import torch late."""
