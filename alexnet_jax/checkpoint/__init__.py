"""Checkpoints: saved, read back, restored, deleted; damaged ones set aside."""
