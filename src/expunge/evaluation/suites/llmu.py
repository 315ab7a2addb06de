"""LLMU (arXiv 2310.10683): harmful answers, copyrighted text, hallucinations, on unlearned, similar and normal prompts.

The rows say which scenario a set belongs to: plain text is a passage, of which the first 200 characters are the prompt;
a column `right_answer` beside the answer says that the answer is a hallucination; any question may be answered
harmfully. The limit of an answer is ours.
"""

from dataclasses import replace

from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics.bertscore import BERT_SCORE_F1
from expunge.metrics.bleu import BLEU, LEAK_RATE
from expunge.metrics.classifier import HARMFUL, REWARD
from expunge.metrics.diversity import DIVERSITY
from expunge.metrics.hallucination import HALLUCINATION_RATE
from expunge.metrics.perplexity import PERPLEXITY
from expunge.metrics.similarity import ORIGINAL_SIMILARITY

PROMPT_CHARACTERS = 200
LONGEST_ANSWER = 200  # tokens; passages are compared over as many

FORGET = SetSpec(
    "forget",
    "forget",
    "forget",
    continued=PROMPT_CHARACTERS,
    reference_tokens=LONGEST_ANSWER,
    label="Forget set",
)
LLMU = Suite(
    name="llmu",
    source="2310.10683",
    summary="harmful answers, copyrighted text or hallucinations, on unlearned, similar and normal prompts",
    sets=(
        FORGET,
        replace(FORGET, name="unseen", configuration="unseen", label="Unseen, like the forget set"),
        replace(FORGET, name="normal", configuration="normal", kind="retain", label="Normal prompts"),
    ),
    metrics=(
        *HARMFUL,
        LEAK_RATE,
        BLEU,
        HALLUCINATION_RATE,
        DIVERSITY,
        PERPLEXITY,
        REWARD,
        ORIGINAL_SIMILARITY,
        BERT_SCORE_F1,
    ),
    max_tokens=LONGEST_ANSWER,
    limit_counts_prompt=False,
    leading=(("harmful_rate", "leak_rate", "hallucination_rate"),),
)
