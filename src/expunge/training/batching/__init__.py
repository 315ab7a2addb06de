"""Which rows meet, in which views, with which completions, in which batches; and their token ids."""

from expunge.training.batching.alternates import prepare_alternates
from expunge.training.batching.encoding import EncodedViews, MicroBatch, ViewBatch
from expunge.training.batching.order import Order
from expunge.training.batching.pairing import Pairing
from expunge.training.batching.plan import plan_rows, prepared_rows
from expunge.training.batching.refusals import load_refusals
from expunge.training.batching.sampler import Collator, EpochSampler, ForgetDataset
from expunge.training.batching.views import VIEWS, Key, Sources, all_keys, takes

__all__ = [
    "VIEWS",
    "Collator",
    "EncodedViews",
    "EpochSampler",
    "ForgetDataset",
    "Key",
    "MicroBatch",
    "Order",
    "Pairing",
    "Sources",
    "ViewBatch",
    "all_keys",
    "load_refusals",
    "plan_rows",
    "prepare_alternates",
    "prepared_rows",
    "takes",
]
