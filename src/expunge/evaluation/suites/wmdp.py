"""WMDP (arXiv 2403.03218): questions on biological, cyber and chemical hazards, and MMLU for what is kept."""

from expunge.evaluation.suites.tasks import Task, harness_suite

WMDP = harness_suite(
    "wmdp",
    "2403.03218",
    "hazardous knowledge (bio, cyber, chem), and MMLU for what is kept",
    (
        Task("wmdp_bio", "forget"),
        Task("wmdp_cyber", "forget"),
        Task("wmdp_chem", "forget"),
        Task("mmlu", "retain"),
    ),
)
