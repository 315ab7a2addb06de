"""The leaderboard: methods with the same search budget, chosen on validation rows and reported on test rows."""

from expunge.bench.plan import Bench, Method, Setting, World
from expunge.bench.run import bench

__all__ = ["Bench", "Method", "Setting", "World", "bench"]
