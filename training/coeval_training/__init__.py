"""Training: generated scenes, data, encoders, losses, export, evaluation (PyTorch)."""
