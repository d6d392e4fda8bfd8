"""Whether a program fits on a chip: what each layer takes, where it can lie, and what would have to change.

``chip``: limits as data, each with source and date; ``answer``: what is said, and its JSON; ``measured``: rates;
``demands``, ``placement``, ``loads``, ``loihi2``: cores of one kind, filled with neurons; ``stages``, ``speck``: a core
for each convolution; ``table``, ``picture``: the answer on a terminal and as a figure.
"""
