"""Checkpoints on the source host: capture, rotation, verification, watching."""
