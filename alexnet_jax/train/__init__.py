"""Training: the loop, the step, the optimizer, the schedule, and what is logged."""
