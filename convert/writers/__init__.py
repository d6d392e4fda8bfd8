"""Old names, kept until version 0.3: writing lives in convert.formats."""
