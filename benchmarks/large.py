"""Does an 8B model train on one card, and does the memory plan say so beforehand? NPO+KL at 512 tokens.

    python benchmarks/large.py --setting full --json full.json    # all weights, 8-bit optimiser state; a 141 GB card
    python benchmarks/large.py --setting qlora --json qlora.json  # an adapter on nf4 weights; below 24 GB

The model has Llama-3.1-8B's shape and random weights, and is written to a temporary folder first (16 GB), so that it is
loaded, quantised and trained as any other. `--shape tiny` runs the same code in seconds, without a GPU too.
"""

import argparse
import gc
import json
import platform
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig
from synthetic import llama, random_rows, word_tokenizer

from expunge import UnlearningConfig, UnlearningTrainer
from expunge.models import load_model
from expunge.training.memory import plan, total

SHAPES = {
    # hidden, layers, heads, key-value heads, intermediate, vocabulary; tokens a row
    "tiny": ((64, 2, 4, 2, 128, 512), 32),
    "llama8b": ((4096, 32, 32, 8, 14336, 128256), 512),
}
SETTINGS = {
    # dtype of the weights, quantization, optimiser, adapter
    "full": (torch.float32, None, "adamw_bnb_8bit", None),
    "full-bf16": (torch.bfloat16, None, "adamw_torch", None),
    "qlora": (torch.bfloat16, "nf4", "adamw_torch", {"r": 8, "lora_alpha": 32, "target_modules": "all-linear"}),
}
STEPS = 3
ACCUMULATION = 2


def measure(setting, shape):
    """Load, train for a few steps, and compare the memory with the plan."""
    dims, length = SHAPES[shape]
    dtype, quantization, optimizer, adapter = SETTINGS[setting]
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory(prefix="expunge-benchmark-") as folder:
        target = Path(folder) / "target"
        llama(*dims, dtype=torch.bfloat16).save_pretrained(target)
        word_tokenizer().save_pretrained(target)
        if gpu:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        model, tokenizer = load_model(target, dtype, quantization=quantization)
        args = UnlearningConfig(
            output_dir=str(Path(folder) / "run"),
            objective="NPO+KL",
            per_device_train_batch_size=1,
            # Gradients of the first micro-batch are held while the second one is run, as in any real run.
            gradient_accumulation_steps=ACCUMULATION,
            num_train_epochs=STEPS,
            activation_checkpointing=True,
            bf16=gpu,
            optim=optimizer,
            save_strategy="no",
            disable_tqdm=True,
        )
        peft_config = LoraConfig(task_type="CAUSAL_LM", **adapter) if adapter else None
        forget, retain = random_rows(ACCUMULATION, length, 1), random_rows(ACCUMULATION * STEPS, length, 2)
        trainer = UnlearningTrainer(model, args, forget, retain, tokenizer, peft_config)
        expected = trainer.memory_shape()
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        log = [json.loads(line) for line in (Path(args.output_dir) / "train_log.jsonl").read_text().splitlines()]
    return {
        "setting": setting,
        "shape": shape,
        "objective": "NPO+KL",
        "tokens_per_row": length,
        "rows_per_micro_batch": {"forget": 1, "retain": 1},
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "device_bytes": torch.cuda.get_device_properties(0).total_memory if gpu else None,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "planned": {name: round(size) for name, size in plan(expected).items()},
        "planned_bytes": round(total(expected)),
        # From loading to the last step, the preparation of the reference included.
        "peak_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        # What the allocator held for it: this much of the card nobody else could have used.
        "reserved_bytes": torch.cuda.max_memory_reserved() if gpu else None,
        **({} if gpu else {"reason": "peak memory is measured on a GPU only: a process holds more than its tensors"}),
        "seconds": round(seconds, 3),
        "losses": [entry["loss"] for entry in log],
        "grad_norms": [entry["grad_norm"] for entry in log],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="llama8b")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    result = measure(options.setting, options.shape)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
