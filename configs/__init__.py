"""Configs: default.py has every field, the others what differs. A package, so that no other `configs` shadows it."""
