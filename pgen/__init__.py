"""pgen: train, deploy, sample and evaluate generative models of liquid-argon detector images."""

__version__ = "0.1.0"
