"""Sweeps: objectives x settings x seeds from one file, one table, and any number of workers."""

from expunge.sweep.plan import Run, Sweep, planned_runs, read_sweep
from expunge.sweep.run import sweep

__all__ = ["Run", "Sweep", "planned_runs", "read_sweep", "sweep"]
