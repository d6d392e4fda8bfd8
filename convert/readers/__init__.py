"""Old names, kept until version 0.3: reading lives in convert.formats."""
