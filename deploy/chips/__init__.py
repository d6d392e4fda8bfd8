"""The chips that ``fit`` knows, one TOML file each: limits with their source and date; an unknown has no value."""
