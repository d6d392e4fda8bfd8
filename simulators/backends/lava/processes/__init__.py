"""Lava processes and their models, and nothing else: Lava's compiler executes every file of this folder."""
