"""NIR: reading, writing, and what each platform that imports it makes of a graph."""
