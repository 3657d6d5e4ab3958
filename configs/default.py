"""The paper's network, recipe and data layout: every field at its default. The other configs set only what differs.

docs/config.md lists the fields with defaults, values and meanings; alexnet_jax/config declares them.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import schema


def get_config() -> ConfigDict:
    """Return the defaults (Krizhevsky, Sutskever and Hinton 2012)."""
    return schema.default_config()
