"""What an evaluation is given, as a few objects: questions, models to compare with, judges, and how to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from expunge.data import PromptStyle, Row

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

    from expunge.evaluation.results import Results
    from expunge.evaluation.suites import Suite

ModelLike: TypeAlias = "str | Path | PreTrainedModel | PeftModel"
Rows: TypeAlias = "Sequence[Row] | str | Path"


@dataclass(frozen=True)
class Questions:
    """What is asked of a model, and which rows.

    Attributes:
        suite: a name of `expunge.evaluation.SUITES`, or a custom suite.
        data: a folder or Hub id whose configurations have the suite's names, or rows (or a SPEC) per set name; for
            suite `own` also the SPEC of the forget set alone. For suites of lm-evaluation-harness, a folder of task
            files.
        forget_split: e.g. "forget10"; may be left out where the data has one `forget*_perturbed` alone.
        holdout: SPEC of rows never trained on, for membership inference; default: the configuration that goes with the
            forget split (`holdout10` with `forget10`), if there is one.
        template: chat template, by name, file or text; default: as the evaluated model was trained, where its folder
            says so, else the model's own. Every model of the evaluation is asked alike.
        system: system prompt, put before conversations that have none; default: likewise, else none.
        date: that templates print; default: likewise, else 01 Jan 2025.
    """

    suite: "str | Suite" = "tofu"
    data: str | Path | Mapping[str, Rows] | None = None
    forget_split: str | None = None
    holdout: str | Path | None = None
    template: str | None = None
    system: str | None = None
    date: str | None = None

    def style_for(self, model: ModelLike) -> PromptStyle:
        """How conversations are written for a model.

        Raises:
            InputError: no such template or date.
        """
        from expunge.models import kept_style

        kept = kept_style(model) if isinstance(model, str | Path) else None
        return (kept or PromptStyle()).updated(self.template, self.system, self.date)


@dataclass(frozen=True)
class ComparedWith:
    """The models that the evaluated one is compared with.

    Attributes:
        retain_model: trained without the forget set; `forget_quality` compares with it.
        retain_results: its results in place of the model: ours, or the `*_EVAL.json` log that OpenUnlearning publishes.
        target_model: the model before unlearning.
    """

    retain_model: "ModelLike | None" = None
    retain_results: "str | Path | Results | None" = None
    target_model: "ModelLike | None" = None


@dataclass(frozen=True)
class JudgeModels:
    """The models that judge outputs, each a Hub name or a folder.

    Those after the first two are loaded after the evaluated model, where that was given as a path, has been freed.

    Attributes:
        embedding_model: of sentences, for `cosine_similarity`.
        nli_model: a classifier, for `entailment`.
        classifiers: name -> (sequence classifier, label), for `<name>_rate` and `<name>_probability`: how many outputs
            carry the label.
        moderators: names of those classifiers that read prompt and output, as a pair of texts; others read the output.
        reward_model: a sequence classifier with one output, for `reward` (suite llmu).
        fluency_model: a causal language model, for `perplexity`.
        bertscore_model: an encoder, with `:LAYER` after it where the last is not meant, for `bert_score_f1` (suite
            llmu).
    """

    embedding_model: str | None = None
    nli_model: str | None = None
    classifiers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    reward_model: str | None = None
    fluency_model: str | None = None
    bertscore_model: str | None = None
    moderators: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Execution:
    """How an evaluation is run; but for `precision` it changes time and memory, no number.

    Attributes:
        batch_tokens: the most tokens of a scoring batch, padding included.
        device: default: a GPU if there is one.
        vllm: the Python of an environment with vLLM, which then answers the prompts; models must be given as paths.
        progress: show progress bars on the error stream.
        precision: what the models compute in: float32, bfloat16 (autocast), or auto: bfloat16 where the device
            multiplies it faster. Written into the results.
    """

    batch_tokens: int | None = None
    device: "str | torch.device | None" = None
    vllm: str | None = None
    progress: bool = False
    precision: str = "float32"
