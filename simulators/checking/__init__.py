"""One NIR graph under every platform's rule: who fires otherwise, where first, why, and what to do about it."""

from simulators.checking.checker import check
from simulators.checking.report import Report, Row

__all__ = ["Report", "Row", "check"]
