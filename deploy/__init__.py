"""What comes after the simulators: verdicts on traces, and the report of a run."""
