"""Real people (arXiv 2410.08109): questions about people to forget, and about their neighbours, who are kept.

`answer` is what the target model itself said; `golden_answer` is the truth, which NLI compares with.
"""

from dataclasses import replace

from expunge.evaluation.suite import SetSpec
from expunge.evaluation.suites.closer_look import CLOSER_LOOK

REAL_PEOPLE = replace(
    CLOSER_LOOK,
    name="closer_look_real_people",
    sets=(
        SetSpec("forget", "forget_perturbed", "forget", nli_truth="golden_answer", premise="output"),
        SetSpec("neighbor", "neighbor_perturbed", "retain", nli_truth="golden_answer", premise="output"),
    ),
)
