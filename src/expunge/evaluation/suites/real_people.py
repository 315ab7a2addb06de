"""Real people (arXiv 2410.08109): questions about people to forget, and about their neighbours, who are kept.

`golden_answer` is the truth: it is scored, and ROUGE and NLI compare with it. `answer` is what the target model itself
said: the released code compares embeddings with it, and nothing else.
"""

from dataclasses import replace

from expunge.evaluation.suites.closer_look import CLOSER_LOOK
from expunge.evaluation.suites.suite import SetSpec

REAL_PEOPLE = replace(
    CLOSER_LOOK,
    name="closer_look_real_people",
    summary="real people to forget, and their neighbours to keep, under the same six metrics",
    sets=(
        SetSpec(
            "forget",
            "forget_perturbed",
            "forget",
            answer="golden_answer",
            nli_truth="golden_answer",
            premise="output",
            label="Forget set",
        ),
        SetSpec(
            "neighbor",
            "neighbor_perturbed",
            "retain",
            answer="golden_answer",
            nli_truth="golden_answer",
            premise="output",
            label="Neighbours of the forget set",
        ),
    ),
)
