"""General ability, as arXiv 2410.08109 checks it beside unlearning: MMLU, ARC-c, TruthfulQA, TriviaQA, GSM8K."""

from expunge.evaluation.suites.tasks import Task, harness_suite

GENERAL = harness_suite(
    "general",
    "2410.08109",
    "what a general model knows: MMLU, ARC-Challenge, TruthfulQA, TriviaQA, GSM8K",
    (
        Task("mmlu", "retain"),
        Task("arc_challenge", "retain", "acc_norm"),
        Task("truthfulqa_mc1", "retain"),
        Task("triviaqa", "retain", "exact_match", "remove_whitespace"),
        Task("gsm8k", "retain", "exact_match", "flexible-extract"),
    ),
)
