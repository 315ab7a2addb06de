"""Judging a pair of models row by row: was it known, is it gone, and does it stay gone?"""

from expunge.forget.judge import Verdict
from expunge.forget.verify import verify

__all__ = ["Verdict", "verify"]
