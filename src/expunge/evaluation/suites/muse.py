"""MUSE, News and Books (arXiv 2407.06460): verbatim and knowledge memorisation, privacy leakage, in the Hub's layout.

Its models are not chat models: prompts are plain text. `forget` and `holdout` are the passages of the privacy
leakage, long ones cut into windows of the model's context.
"""

from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics.membership import MIA_LOSS, MIA_MIN_K, MIA_MIN_K_PLUS_PLUS, MIA_ZLIB
from expunge.metrics.memorization import EXACT_MEMORIZATION, EXTRACTION_STRENGTH
from expunge.metrics.rouge import ROUGE_L_F1, ROUGE_L_F1_STEMMED

CONTINUED = ("rougeL_f1", "rougeL_f1_stemmed")
ANSWER_ENDS = ("\n\n", "\nQuestion", "Question:")

MUSE = Suite(
    name="muse",
    source="2407.06460",
    summary="news or books: verbatim and knowledge memorisation, privacy leakage",
    sets=(
        SetSpec(
            "forget",
            "privleak:forget",
            "forget",
            label="Forget set, passages",
            metrics=(
                "extraction_strength",
                "exact_memorization",
                "mia_loss",
                "mia_zlib",
                "mia_min_k",
                "mia_min_k_plus_plus",
            ),
        ),
        SetSpec(
            "forget_verbmem",
            "verbmem:forget",
            "forget",
            label="Forget set, continued",
            metrics=CONTINUED,
            columns=("prompt", "gt"),
            raw=True,
            max_tokens=128,
            reference_tokens=128,
        ),
        SetSpec(
            "forget_knowmem",
            "knowmem:forget_qa",
            "forget",
            label="Forget set, questions",
            metrics=CONTINUED,
            raw=True,
            shots="knowmem:forget_qa_icl",
            stop_at=ANSWER_ENDS,
        ),
        SetSpec(
            "retain_knowmem",
            "knowmem:retain_qa",
            "retain",
            label="Retain set, questions",
            metrics=CONTINUED,
            raw=True,
            shots="knowmem:retain_qa_icl",
            stop_at=ANSWER_ENDS,
        ),
        SetSpec("holdout", "privleak:holdout", "holdout", label="Holdout set"),
    ),
    metrics=(
        ROUGE_L_F1,
        ROUGE_L_F1_STEMMED,
        EXTRACTION_STRENGTH,
        EXACT_MEMORIZATION,
        MIA_LOSS,
        MIA_ZLIB,
        MIA_MIN_K,
        MIA_MIN_K_PLUS_PLUS,
    ),
    max_tokens=32,
    limit_counts_prompt=False,
)
