"""How many tokens a model can read at once."""

from transformers import PretrainedConfig


def context_length(config: PretrainedConfig) -> int | None:
    """A model's context in tokens, as its configuration says; None where it names no limit."""
    return config.get_text_config().to_dict().get("max_position_embeddings")
