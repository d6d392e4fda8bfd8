"""What an operation costs, one TOML file for each reading: every price with source, date and grade, or none."""
