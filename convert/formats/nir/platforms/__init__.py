"""The facts of each platform that imports NIR: its rules, what its dialect says, where it stops being exact."""
