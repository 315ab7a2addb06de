"""Models that judge outputs, one small file each. To add one: write its file, add it to this table.

Its model gets a field in `JudgeModels`; what it says of a row is a field of `Example` that metrics look at.
"""

from expunge.evaluation.judges.base import Device, Judge, Outputs
from expunge.evaluation.judges.bertscore import BertScore
from expunge.evaluation.judges.classifier import Classifiers, parse_classifiers
from expunge.evaluation.judges.entailment import Entailment
from expunge.evaluation.judges.fluency import Fluency
from expunge.evaluation.judges.reward import Reward
from expunge.evaluation.judges.similarity import Similarity
from expunge.evaluation.request import JudgeModels
from expunge.models import no_bars_in_logs

JUDGES: tuple[type[Judge], ...] = (Similarity, BertScore, Entailment, Classifiers, Reward, Fluency)


def open_judges(models: JudgeModels, device: Device) -> tuple[Judge, ...]:
    """Check every judge that was named, before anything is measured.

    Raises:
        InputError: one is not there, or is not what it is used as.
    """
    no_bars_in_logs()
    return tuple(judge for kind in JUDGES if (judge := kind.opened(models, device)) is not None)


__all__ = ["JUDGES", "Judge", "Outputs", "open_judges", "parse_classifiers"]
