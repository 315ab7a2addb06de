"""Fingerprints of weights and configurations: the same only where the numbers are."""

import pytest
import torch
from torch import nn

from evaluation.tiny import tiny_model
from expunge.models import fingerprint, fingerprint_config
from expunge.models.fingerprint import fingerprint_json


class Holder(nn.Module):
    """One parameter and one buffer."""

    def __init__(self, weight: torch.Tensor, name: str = "weight") -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(weight))
        self.register_buffer("kept", torch.zeros(2))


def test_names_shapes_types_and_bits_of_weights_count() -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    first = fingerprint(Holder(weight))
    assert fingerprint(Holder(weight.clone())) == first
    with_buffer = Holder(weight)
    with_buffer.kept += 1
    others = [
        Holder(weight.reshape(3, 2)),
        Holder(weight.bfloat16()),
        Holder(weight, "other"),
        Holder(weight.flip(0)),
        Holder(torch.where(weight == 0, -0.0, weight)),  # equal, but not to the bit
        with_buffer,
    ]
    assert len({first, *map(fingerprint, others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("key", "value", "counts"),
    [
        ("rms_norm_eps", 1e-3, True),
        ("attention_bias", True, True),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 5e5}, True),
        ("_name_or_path", "elsewhere", False),
        ("use_cache", False, False),
        ("dtype", "bfloat16", False),
    ],
)
def test_settings_that_change_numbers_count(key, value, counts) -> None:
    model = tiny_model()
    before = fingerprint_config(model)
    setattr(model.config, key, value)
    assert (fingerprint_config(model) != before) == counts


def test_a_saved_model_has_the_same_settings(tmp_path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    assert fingerprint_config(type(model).from_pretrained(tmp_path)) == fingerprint_config(model)
    model.generation_config.eos_token_id = [2, 5]
    assert fingerprint_config(type(model).from_pretrained(tmp_path)) != fingerprint_config(model)


def test_fingerprints_of_settings_stay_what_they_are() -> None:
    """Results that were stored before carry them: another length or order would make every one of them stale."""
    assert fingerprint_json({"b": 1, "a": [2.5, None]}) == "de9d1b10d23ace6d44990a63b2bd1a7e"
    assert fingerprint_json({"a": [2.5, None], "b": 1}) == fingerprint_json({"b": 1, "a": [2.5, None]})
    assert len(fingerprint(Holder(torch.zeros(3)))) == 32
