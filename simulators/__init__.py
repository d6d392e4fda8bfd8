"""Run a program, step by step, on a backend; write a trace."""
