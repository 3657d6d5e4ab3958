"""Every image once: views, metrics, predictions."""
