"""`expunge verify`: what a model forgot of what another one knew, row by row, and whether it stays forgotten.

The weights are judged, not what stands around them: the unlearned model is asked with the target's tokenizer and chat
template. A row is known where its right answer is clearly likelier than controls of the same form, or is said. What
other words, a few steps of relearning on *other* rows, or fewer bits bring back was not forgotten.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from expunge.attacks.ask import Values, ask
from expunge.data import PromptStyle, Row
from expunge.errors import InputError
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.results.fingerprints import model_section
from expunge.files import write_json
from expunge.forget.build import spread
from expunge.forget.judge import LEAST_ROWS, MARGIN, MOST_LOST, RETAINED, Verdict, judge, utility_loss
from expunge.forget.knowledge import BY_CONTROLS, METRICS, NATS, comparable, known, with_controls
from expunge.forget.request import check_rows
from expunge.forget.settings import PLAIN, in_four_bits, quantized, relearned, reworded
from expunge.models import check_head, fingerprint_rows, fingerprint_tokenizer, load_model
from expunge.runs import VERDICT

MOST_COMPARED = 100
"""Of the rows that must stay, so many are held against controls, to see whether the target knows them."""


def verify(
    model: str | Path,
    target: str | Path,
    forget: Sequence[Row],
    retain: Sequence[Row] = (),
    holdout: Sequence[Row] = (),
    *,
    others: Mapping[str, Sequence[Row]] = MappingProxyType({}),
    style: PromptStyle = PromptStyle(),
    seed: int = 0,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> Verdict:
    """Judge an unlearned model against the one before; one of them in memory at a time.

    Args:
        model: the unlearned model's folder.
        target: the folder of the model before.
        forget: question and answer rows.
        retain: rows that must stay; without them nothing can be called forgotten.
        holdout: rows that neither model was trained on; more controls are made from them.
        others: by what they are, more rows of which nothing should be lost; what is, is reported.
        style: how conversations are written, for both.
        seed: of the relearning attack.
        device: default: a GPU if there is one.
        out: the folder to write verdict.json into.
        progress: show progress bars on the error stream.

    Raises:
        InputError: rows that cannot be judged (see `check_rows`), or a model that cannot be loaded.
    """
    check_rows(forget, retain, holdout)
    asked = with_controls(forget, holdout)
    with bars("target", progress) as report:
        loaded, words = load_model(target, device=device)
        check_head(loaded)
        evidence: dict[str, Any] = {"target": asdict(model_section(str(target), loaded))}
        before = ask(loaded, words, asked, style, METRICS, report)
        stay = {name: rows for name, rows in {"retain": retain, **others}.items() if rows}
        stay_before = {name: ask(loaded, words, rows, style, RETAINED, report) for name, rows in stay.items()}
        kept = comparable(spread(retain, MOST_COMPARED)) if retain else []
        kept_before = ask(loaded, words, kept, style, BY_CONTROLS, report) if kept else None
    del loaded
    gc.collect()
    settings: dict[str, Values] = {}
    not_measured = {}
    with bars("unlearned", progress) as report:
        loaded, own = load_model(model, device=device)
        check_head(loaded)
        if len(own) != len(words):
            raise InputError(f"{model}: has another vocabulary than {target}. Rows cannot be compared.")
        evidence["unlearned"] = asdict(model_section(str(model), loaded))
        settings[PLAIN] = ask(loaded, words, asked, style, METRICS, report)
        stay_after = {name: ask(loaded, words, rows, style, RETAINED, report) for name, rows in stay.items()}
        if known(before).any():
            settings |= reworded(loaded, words, asked, style, report)
            settings |= relearned(loaded, words, asked, style, report, seed) if len(asked) > 1 else {}
            settings |= in_four_bits(loaded, words, asked, style, report)
            del loaded
            for name, values in quantized(model, words, asked, style, report, device):
                if isinstance(values, str):
                    not_measured[name] = values
                else:
                    settings[name] = values
    lost = {name: utility_loss(stay_before[name], stay_after[name]) for name in stay}
    verdict = judge(asked, before, settings, lost.get("retain"), kept_before)
    if fingerprint_tokenizer(own) != fingerprint_tokenizer(words):
        note = "its tokenizer or chat template differs from the target's; the weights were asked with the target's"
        verdict.reasons.append(note)
    sets = {"forget": forget, "retain": retain, "holdout": holdout, **others}
    evidence["data"] = {name: [len(rows), fingerprint_rows(rows)] for name, rows in sets.items() if rows}
    limits = {"margin": MARGIN, "most_lost": MOST_LOST, "least_rows": LEAST_ROWS, "nats": NATS}
    evidence["settings"] = limits | {"seed": seed}
    evidence["not_measured"] = not_measured
    evidence["lost_on_others"] = {
        name: {"value": each[0], "ci95": list(each[1])} for name in others if (each := lost.get(name))
    }
    verdict.evidence.update(evidence)
    if out is not None:
        write_json(Path(out) / VERDICT, verdict.to_json())
    return verdict
