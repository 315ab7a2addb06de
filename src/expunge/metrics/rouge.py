"""ROUGE-L between the greedy answer and the reference (TOFU, arXiv 2401.06121)."""

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from expunge.metrics.base import Example, Metric

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

# rouge-score brings in all of nltk: imported when a text is scored, for reports and comparisons score none.


@cache
def _published_scorer(stemmed: bool) -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    # The published suites use the library's own tokenizer, which keeps [a-z0-9] alone: Cyrillic, Greek or Chinese text
    # scores 0 whatever was leaked, and accented words fall apart. Right for comparison with the papers' numbers only.
    return RougeScorer(["rougeL"], use_stemmer=stemmed)


def rouge_l_recall(reference: str, output: str) -> float:
    """Share of the reference's (stemmed) words that the output has in the same order; 0 if either has no word."""
    return float(_published_scorer(stemmed=True).score(reference, output)["rougeL"].recall)


def rouge_l_f1(reference: str, output: str, stemmed: bool = False) -> float:
    """F1 of ROUGE-L: words as they are in MUSE (arXiv 2407.06460), stemmed in OpenUnlearning (arXiv 2506.12618)."""
    return float(_published_scorer(stemmed).score(reference, output)["rougeL"].fmeasure)


# Scripts written without spaces between words: each character counts as a word.
_NO_SPACES = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_WORD = re.compile(rf"[{_NO_SPACES}]|[^\W_{_NO_SPACES}]+")


class UnicodeTokenizer:
    """Words of any script, case folded; English words are stemmed as in the published code."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self._stemmer = PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        """Words in order; accents composed, so that two spellings of one letter are the same."""
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        return [self._stemmer.stem(word) if len(word) > 3 and word.isascii() else word for word in words]


@cache
def _unicode_scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=UnicodeTokenizer())


def rouge_l_recall_unicode(reference: str, output: str) -> float:
    """`rouge_l_recall` that sees every script: a verbatim leak in Russian scores 1, not 0."""
    return float(_unicode_scorer().score(reference, output)["rougeL"].recall)


def per_example(example: Example) -> float | None:
    """ROUGE-L recall of the greedy answer."""
    return None if example.generation is None else rouge_l_recall(example.reference, example.generation)


ROUGE_L_RECALL = Metric(
    name="rougeL_recall",
    label="ROUGE-L recall",
    meaning="share of the right answer's words found, in order, in the answer",
    per_example=per_example,
    definition="ROUGE-L recall of the greedy answer against the reference, words stemmed; letters outside a-z and "
    "0-9 are dropped, as in the published code",
    source="2401.06121",
    needs=frozenset({"generation"}),
)
ROUGE_L_RECALL_UNICODE = Metric(
    name="rougeL_recall",
    label="ROUGE-L recall",
    meaning="share of the right answer's words found, in order, in the answer",
    per_example=lambda example: (
        None if example.generation is None else rouge_l_recall_unicode(example.reference, example.generation)
    ),
    definition="suite own; ROUGE-L recall over words of any script (published suites see a-z and 0-9 alone); English "
    "words stemmed",
    source="expunge",
    needs=frozenset({"generation"}),
)
ROUGE_L_F1 = Metric(
    name="rougeL_f1",
    label="ROUGE-L F1",
    meaning="overlap in words, in order, with the right continuation or answer",
    per_example=lambda example: (
        None if example.generation is None else rouge_l_f1(example.reference, example.generation)
    ),
    definition="suite muse; ROUGE-L F1 of the greedy continuation (VerbMem) or answer (KnowMem), words not stemmed",
    source="2407.06460",
    needs=frozenset({"generation"}),
)
ROUGE_L_F1_STEMMED = Metric(
    name="rougeL_f1_stemmed",
    label="ROUGE-L F1, stemmed",
    meaning="the same with words stemmed, as OpenUnlearning scores it",
    per_example=lambda example: (
        None if example.generation is None else rouge_l_f1(example.reference, example.generation, stemmed=True)
    ),
    definition="suite muse; `rougeL_f1` with words stemmed, as OpenUnlearning scores it",
    source="2506.12618",
    needs=frozenset({"generation"}),
)
