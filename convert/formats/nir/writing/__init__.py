"""NIR out: the canonical graph, its nodes and their bodies, the file, and what a version before wrote."""

from convert.formats.nir.writing.canonical import CANONICAL, OUTPUT, edges, graph, nodes, write

__all__ = ["CANONICAL", "OUTPUT", "edges", "graph", "nodes", "write"]
