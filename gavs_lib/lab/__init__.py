"""Experiments: feature cache, training, evaluation, and files of trained weights. Import the rooms by name."""
