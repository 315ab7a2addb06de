"""Cosine similarity of sentence embeddings of the output and the truth (arXiv 2410.08109), or the original's output."""

from expunge.metrics.base import Example, Metric


def cosine_similarity(example: Example) -> float | None:
    """max(0, cos) of the two embeddings."""
    return None if example.similarity is None else max(0.0, example.similarity)


COSINE_SIMILARITY = Metric(
    name="cosine_similarity",
    label="Cosine similarity",
    meaning="closeness in meaning to the right answer (embedding model)",
    per_example=cosine_similarity,
    definition="max(0, cosine) of sentence embeddings of the greedy answer and the truth (the paper: "
    "paraphrase-MiniLM-L6-v2)",
    source="2410.08109",
    needs=frozenset({"generation", "similarity"}),
    why_null="no sentence-embedding model was given: --embedding-model sentence-transformers/paraphrase-MiniLM-L6-v2 "
    "(or a local folder)",
)
ORIGINAL_SIMILARITY = Metric(
    name="original_similarity",
    label="Similarity to the original",
    meaning="closeness in meaning to the original model's output",
    per_example=lambda example: None if example.original_similarity is None else max(0.0, example.original_similarity),
    definition="max(0, cosine) of sentence embeddings of this model's output and of the output of the model before "
    "unlearning to the same prompt; two empty outputs are alike",
    source="2310.10683",
    needs=frozenset({"generation", "original"}),
    kinds=("retain",),
    better={"retain": "higher"},
    why_null="it compares an unlearned model's outputs with those of the model before: --target-model and "
    "--embedding-model",
)
