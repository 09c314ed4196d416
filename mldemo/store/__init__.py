"""Checkpoint files: bundle, Hugging Face Hub, publication."""
