"""What a run would cost: counts of the ledger times prices that are data, or no total where a price is missing.

``prices``: the files; ``bill``: counts times prices, layer by layer; ``table``: the answer on a terminal.
"""
