"""Learned lifters in the making: computed scenes, feature spaces, losses, the training loop."""
