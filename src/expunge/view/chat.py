"""The chat of before and after: both models answer the same prompt, one after the other, with their likeliest tokens.

Models are loaded when they are first asked, and asked as an evaluation asks them, so that a question of the forget set
gets the answer that stands in the table of examples.
"""

import gc
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from expunge.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from expunge.data import PromptStyle

Role = Literal["target", "unlearned"]
ROLES: tuple[Role, ...] = ("target", "unlearned")
NEW_TOKENS = 200  # of an answer, as in the suites
LONGEST_PROMPT = 20_000  # characters

Event = dict[str, Any]
"""What happens to one model: {"model": role} and "status" (loading, answering), "text", "gone" or "done"."""


class Chat:
    """The two models of a run.

    Args:
        target: the model before unlearning: a place, or None where the recipe does not say.
        unlearned: the run folder.
    """

    def __init__(self, target: str | None, unlearned: Path) -> None:
        self._places: Mapping[Role, str | None] = {"target": target, "unlearned": str(unlearned)}
        self._loaded: dict[Role, tuple[PreTrainedModel, PreTrainedTokenizerBase]] = {}
        self._one_call = threading.Lock()

    def answers(
        self, prompt: str, history: Sequence[Mapping[str, str]], stopped: threading.Event
    ) -> Generator[Event, None, None]:
        """Let the models that are there answer, one at a time over all callers.

        Args:
            prompt: what is asked.
            history: earlier turns: "prompt", and each role's answer.
            stopped: ends the answer when set.
        """
        with self._one_call:
            for role in ROLES:
                if stopped.is_set():
                    return
                try:
                    if role not in self._loaded:
                        yield {"model": role, "status": "loading"}
                    yield from self._answer(role, prompt, history, stopped)
                except InputError as error:
                    yield {"model": role, "gone": str(error)}
                except Exception as error:  # too little memory, or whatever a model's code does
                    self._loaded.pop(role, None)
                    gc.collect()
                    yield {"model": role, "gone": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}

    def _load(self, role: Role) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        from expunge.models import load_model

        place = self._places[role]
        if place is None:
            raise InputError("The run has no recipe that names the model before unlearning.")
        if role not in self._loaded:
            self._loaded[role] = load_model(place)
        return self._loaded[role]

    def _written(self) -> "PromptStyle":
        """How conversations are written: as the unlearned model was trained, or where it is gone the target."""
        from expunge.data import PromptStyle
        from expunge.models import kept_style

        for role in ("unlearned", "target"):
            with suppress(InputError):
                if (place := self._places[role]) and (kept := kept_style(place)):
                    return kept
        return PromptStyle()

    def _answer(
        self, role: Role, prompt: str, history: Sequence[Mapping[str, str]], stopped: threading.Event
    ) -> Iterator[Event]:
        model, tokenizer = self._load(role)
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList, TextIteratorStreamer

        from expunge.data import Row, Turn, encode_prompt
        from expunge.evaluation.passes.generate import stop_tokens
        from expunge.models import context_length

        def ended(so_far: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(so_far),), stopped.is_set(), dtype=torch.bool, device=so_far.device)

        style = self._written()
        turns = [
            turn for past in history for turn in (Turn("user", past["prompt"]), Turn("assistant", past.get(role, "")))
        ]
        ids = encode_prompt(tokenizer, Row((*turns, Turn("user", prompt)), ""), style)
        length = context_length(model.config)
        room = NEW_TOKENS if length is None else min(NEW_TOKENS, length - len(ids))
        if room <= 0:
            raise InputError(
                f"The conversation has {len(ids)} tokens; this model reads {length}. Ask less, or begin a new one."
            )
        ends = sorted(stop_tokens(model, tokenizer, style))
        settings = GenerationConfig(do_sample=False, max_new_tokens=room, eos_token_id=ends, pad_token_id=ends[0])
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        asked = torch.tensor([ids], device=model.device)
        failed: list[Exception] = []

        def generate() -> None:
            try:
                with torch.inference_mode():
                    cast(Any, model).generate(
                        asked,
                        attention_mask=torch.ones_like(asked),
                        generation_config=settings,
                        streamer=streamer,
                        stopping_criteria=StoppingCriteriaList([cast(Any, ended)]),
                    )
            except Exception as error:  # it is raised where the answer is awaited
                failed.append(error)
            finally:
                streamer.end()

        yield {"model": role, "status": "answering"}
        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        try:
            for text in streamer:
                if text:
                    yield {"model": role, "text": text}
        finally:
            thread.join()
        if failed:
            raise failed[0]
        yield {"model": role, "done": True}
