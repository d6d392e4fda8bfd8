"""Parallel training: neurons, SSM, networks, tasks, checkpoints."""
