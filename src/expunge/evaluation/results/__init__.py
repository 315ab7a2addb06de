"""From judged examples to results: one schema, the table of examples, means and intervals, fingerprints, resume."""

from expunge.evaluation.results.schema import (
    RELEARNED,
    Data,
    Measurement,
    Model,
    Results,
    RowSet,
    Summary,
    load_results,
)

__all__ = ["RELEARNED", "Data", "Measurement", "Model", "Results", "RowSet", "Summary", "load_results"]
