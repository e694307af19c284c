"""Solvers for the potential of semi-discrete transport, and its certificate."""
