"""The process: settings before jax starts, signals, streams, atomic files."""
