"""Training data: datasets, loaders, augmentation, conditions."""
