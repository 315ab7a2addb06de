"""General ability, as arXiv 2410.08109 checks it beside unlearning: MMLU, ARC-c, TruthfulQA, TriviaQA, GSM8K."""

from expunge.evaluation.harness import Task, harness_suite

GENERAL = harness_suite(
    "general",
    "2410.08109",
    (
        Task("mmlu", "retain"),
        Task("arc_challenge", "retain", "acc_norm"),
        Task("truthfulqa_mc1", "retain"),
        Task("triviaqa", "retain", "exact_match", "remove_whitespace"),
        Task("gsm8k", "retain", "exact_match", "strict-match"),
    ),
)
