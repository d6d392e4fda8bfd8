"""The report of run folders: a page that opens from disk, Markdown, JSON, and a table for the terminal."""
