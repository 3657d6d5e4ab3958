"""Experiments of the paper: published figures as data, and what repeated runs say about them."""
