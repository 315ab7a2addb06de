"""Seconds from files of rows to the first step: read, checked, paired and tokenised; many rows, and a long passage.

    python benchmarks/rows.py --json benchmarks/results/rows.json

100,000 made-up rows of TOFU's length, a tenth of them to be forgotten, and a passage of 10 MB. Seconds are of the wall
and of all cores together (cpu). The tokenizer is a byte-level BPE, trained here on such rows.
"""

import argparse
import json
import os
import platform
import random
import tempfile
import time
from itertools import accumulate
from pathlib import Path

FORGET, RETAIN = 10_000, 90_000
QUESTION, ANSWER = 11, 27  # words; with these, characters are TOFU's: 70 and 169 on the average
PASSAGE = 10_000_000  # characters
CONTEXT = 1024  # tokens
EPOCHS = 5
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Writer:
    """Sentences of made-up words, of lengths and frequencies like those of English."""

    def __init__(self):
        self.draw = random.Random(0)
        letters, shares = "etaoinshrdlucmfwypvbgk", range(22, 0, -1)
        lengths = [2, 3, 3, 4, 5, 5, 6, 7, 8, 9]
        self.words = ["".join(self.draw.choices(letters, shares, k=self.draw.choice(lengths))) for _ in range(20_000)]
        self.shares = list(accumulate(1 / (i + 1) for i in range(len(self.words))))

    def sentence(self, words, end="."):
        return " ".join(self.draw.choices(self.words, cum_weights=self.shares, k=words)).capitalize() + end

    def row(self):
        return {"question": self.sentence(QUESTION, "?"), "answer": self.sentence(ANSWER)}


def make(folder, forget, retain, passage):
    """The files, and the tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    writer = Writer()
    for name, count in (("forget", forget), ("retain", retain)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(writer.row()) + "\n" for _ in range(count)))
    text = ""
    while len(text) < passage:
        text += " ".join(writer.sentence(12) for _ in range(1 + passage // 1000)) + "\n"
    (folder / "passage.jsonl").write_text(json.dumps({"text": text[:passage]}) + "\n")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator((writer.sentence(12) for _ in range(min(retain, 20_000))), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def measure(folder, tokenizer):
    """Seconds of each stage, in the order of a run."""
    from expunge.data import encode_all, load_rows, windows
    from expunge.objectives import build_objective
    from expunge.training.batching import all_keys, plan_rows
    from expunge.training.batching.plan import refuse_overlap
    from expunge.training.config import UnlearningConfig

    stages = {}

    def timed(name, work):
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        spent = round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3)
        stages[name] = dict(zip(("seconds", "cpu_seconds"), spent, strict=True))
        print(f"{name:10} {spent[0]:8.2f} s  {spent[1]:8.2f} s cpu", flush=True)
        return found

    objective = build_objective("NPO+GD")
    forget, retain = timed("read", lambda: [load_rows(folder / f"{name}.jsonl") for name in ("forget", "retain")])
    timed("overlap", lambda: refuse_overlap(forget, retain))
    args = UnlearningConfig(output_dir=str(folder / "run"), use_cpu=True, num_train_epochs=EPOCHS)
    # Checks the sets again, and tokenises every row.
    planned = timed("plan", lambda: plan_rows(objective, forget, retain, None, tokenizer, CONTEXT, args))
    timed("pair", lambda: [list(all_keys(view, planned[1], EPOCHS)) for view in objective.views])
    (row,) = timed("read passage", lambda: load_rows(folder / "passage.jsonl"))
    (parts,), known = timed("windows", lambda: windows(tokenizer, [row], CONTEXT))
    timed("encode windows", lambda: encode_all(tokenizer, [(part, None) for part in parts], CONTEXT, known=known))
    return stages, len(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=FORGET + RETAIN)
    parser.add_argument("--passage", type=int, default=PASSAGE, help="characters")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as the command line does
    import tokenizers
    import torch
    import transformers

    with tempfile.TemporaryDirectory(prefix="expunge-benchmark-") as name:
        folder, forget = Path(name), options.rows // 10
        tokenizer = make(folder, forget, options.rows - forget, options.passage)
        stages, parts = measure(folder, tokenizer)
    many, long = ("read", "overlap", "plan", "pair"), ("read passage", "windows", "encode windows")
    result = {
        "device": f"cpu, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            "python": platform.python_version(),
            "tokenizers": tokenizers.__version__,
            "transformers": transformers.__version__,
        },
        "rows": options.rows,
        "passage_characters": options.passage,
        "windows": parts,
        "stages": stages,
        "rows_seconds": round(sum(stages[stage]["seconds"] for stage in many), 2),
        "passage_seconds": round(sum(stages[stage]["seconds"] for stage in long), 2),
    }
    print(f"rows {result['rows_seconds']} s, passage {result['passage_seconds']} s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
