"""Make a model answer `model(views=...)`, so that wrappers (DDP, FSDP2, PEFT, autocast) see an ordinary forward."""

from collections.abc import Sequence
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from transformers import PreTrainedModel

from expunge.models.forward import Request, token_values
from expunge.models.packing import pack_rows

if TYPE_CHECKING:
    from peft import PeftModel


def causal_model(model: "PreTrainedModel | PeftModel") -> PreTrainedModel:
    """The causal language model itself, inside an adapter or not."""
    return model if isinstance(model, PreTrainedModel) else cast(PreTrainedModel, model.get_base_model())


def attach_views(model: "PreTrainedModel | PeftModel", compiled: bool = False) -> None:
    """Give the model's forward a second entrance: `views`, a list of requests, returns their token values.

    The work has to happen inside the forward: that is where DDP prepares its gradient reduction and FSDP2 gathers the
    output head that the chunks of logits need. `compiled` runs what is computed from logits through `torch.compile`.
    """
    causal = causal_model(model)
    pack_rows(causal)
    original = type(causal).forward

    @wraps(original)  # `generate` reads the signature
    def forward(self: PreTrainedModel, *args: Any, views: Sequence[Request] | None = None, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs) if views is None else token_values(self, views, compiled)

    causal.forward = MethodType(forward, causal)  # a method, so that a deep copy runs the copy's own weights


def run_views(model: Any, requests: Sequence[Request]) -> list[list[Tensor]]:
    """Token values of each request through a model, wrapped or not, that went through `attach_views`."""
    return model(views=list(requests))
