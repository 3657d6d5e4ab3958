"""The config: every field once, what values it takes, and old names."""
