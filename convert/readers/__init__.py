"""Readers: files of others, and our own, as programs."""
