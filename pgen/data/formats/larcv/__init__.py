"""LArCV files: ROOT (LArCV1 and LArCV2) and HDF5 (LArCV3)."""
