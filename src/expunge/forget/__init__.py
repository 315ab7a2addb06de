"""Judging a pair of models row by row: was it known, is it gone, does it stay gone? And choosing how far to remove."""

from expunge.forget.judge import Verdict
from expunge.forget.reset import Budget, with_reset
from expunge.forget.verify import verify

__all__ = ["Budget", "Verdict", "verify", "with_reset"]
