"""Do two traces of one program agree, and if not, why is each spike that differs right to differ, or wrong?

The method is in docs/verify.md. ``verify`` gives a ``Verdict``.
"""

from deploy.verification.compare import verify
from deploy.verification.verdict import Verdict

__all__ = ["Verdict", "verify"]
