"""A failing run made small while it fails for the same reason, for another project's tracker (docs/shrink.md).

``case`` is what is cut, ``cuts`` the ways to cut it, ``search`` tries them, ``judges`` say whether it still
fails so, ``folder`` writes what is left, and ``making`` puts them together.
"""
