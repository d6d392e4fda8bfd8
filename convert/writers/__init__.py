"""Writers: one table for each language, from an operation to the words of that language."""
