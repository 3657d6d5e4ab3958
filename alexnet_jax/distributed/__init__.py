"""Devices and their mesh; processes that join, agree, lose each other and stop together."""
