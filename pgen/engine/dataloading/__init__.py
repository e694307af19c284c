"""Training data in model space: datasets, conditions, batches and augmentation."""
