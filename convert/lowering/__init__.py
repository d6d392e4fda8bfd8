"""Passes that lower what is exact to what a machine of integers computes."""
