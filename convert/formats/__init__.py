"""Languages: reading, writing and the facts of each one's platforms, side by side."""
