"""The report of a run folder: one HTML page that opens from disk, and a table for the terminal."""

from deploy.reporting.page import render
from deploy.reporting.terminal import summary_table

__all__ = ["render", "summary_table"]
