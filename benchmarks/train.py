"""Training speed and memory: expunge against a plain implementation, same rows, same optimiser steps, in one run.

    python benchmarks/train.py --shape cpu30m --objective NPO+GD --objective IDK+AP --data TOFU-FOLDER --json OUT

Each objective and side runs in a process of its own, so that peak memory is its own. On the CPU the two take turns step
by step, so that a machine that is slow for a while is slow for both. Time is that of the whole of `trainer.train()` (or
of the plain loop), the reference values and the optimiser included, divided by the steps; the median step is beside it.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

SHAPES = {
    # hidden, layers, heads, key-value heads, intermediate, vocabulary, micro-batch, steps per epoch, epochs
    "tiny": (128, 4, 4, 4, 352, 4096, 8, 2, 5),
    "cpu30m": (384, 10, 6, 6, 1024, 32000, 16, 1, 5),
    "llama1b": (2048, 16, 32, 8, 8192, 128256, 8, 2, 5),
    "llama8b": (4096, 32, 32, 8, 14336, 128256, 4, 2, 3),
}
OBJECTIVES = ["GA+GD", "NPO+GD", "DPO+GD", "NPO+KL", "ME+GD", "IDK+AP", "RMU+EMBED"]
RMU_LAYER = {"tiny": 2, "cpu30m": 5, "llama1b": 7, "llama8b": 7}
LEARNING_RATE, WEIGHT_DECAY, SEED = 1e-5, 0.01, 7


def rows_of(data):
    """Forget and retain rows: TOFU's where its folder is given, else the embedded example's."""
    from expunge.data import load_rows

    if data:
        return load_rows(f"{data}:forget10"), load_rows(f"{data}:retain90")
    from expunge.worlds.corpus import write_world

    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder) / "world", people=60, seed=SEED)
        return load_rows(f"{folder}/world:forget10"), load_rows(f"{folder}/world:retain90")


def build(shape, vocabulary, rows):
    """A random Llama of the shape and a tokenizer with a vocabulary of at most its size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from expunge.worlds.tiny import train_tokenizer

    hidden, layers, heads, kv, inner, default, *_ = SHAPES[shape]
    vocabulary = vocabulary or default
    tokenizer = train_tokenizer((text for row in rows for text in (row.prompt, row.completion)), min(vocabulary, 8192))
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=inner,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = LlamaForCausalLM(config)
    return model, tokenizer


def plan(shape, objective, data, vocabulary):
    """Model, tokenizer, rows and the trainer both sides take their batches from."""
    from expunge import UnlearningConfig, UnlearningTrainer

    *_, batch, steps, epochs = SHAPES[shape]
    forget, retain = rows_of(data)
    model, tokenizer = build(shape, vocabulary, retain)
    folder = tempfile.mkdtemp(prefix="expunge-benchmark-")
    args = UnlearningConfig(
        output_dir=folder,
        objective=objective,
        objective_options={"layer": RMU_LAYER[shape]} if "RMU" in objective else {},
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        num_train_epochs=epochs,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=WEIGHT_DECAY,
        save_strategy="no",
        disable_tqdm=True,
        seed=SEED,
        stop_at_chance=False,
    )
    return UnlearningTrainer(model, args, forget[: batch * steps], retain, tokenizer), model


class Turns:
    """The time this process was at work: it waits for its turn before each step."""

    def __init__(self, pipe):
        self.pipe, self.seconds, self.started = pipe, list[float](), 0.0

    def begin(self):
        self.pipe.send("ready")
        self.pipe.recv()
        self.started = time.perf_counter()

    def end(self):
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def expunge_losses(trainer, turns):
    """Train with expunge, one turn a step; what comes before and after all steps belongs to the first and last turn."""
    from transformers import TrainerCallback

    class Wait(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step < state.max_steps:
                turns.end()
                turns.begin()

    trainer.add_callback(Wait())
    turns.begin()
    trainer.train()
    turns.end()
    log = (Path(trainer.args.output_dir) / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in log]


def plain_losses(losses, turns):
    """The same for the plain loop, a generator of losses."""
    found = []
    turns.begin()
    for loss in losses:
        found.append(loss)
        turns.end()
        turns.begin()
    turns.end()
    return found


def run(side, shape, objective, data, vocabulary, pipe):
    """One side of one objective; sends its numbers through the pipe."""
    import torch

    trainer, model = plan(shape, objective, data, vocabulary)
    cuts = [cut for epoch in range(int(trainer.args.num_train_epochs)) for cut in batches(trainer, epoch)]
    loaded, turns = peak_mib(torch, reset=True), Turns(pipe)
    if side == "expunge":
        losses = expunge_losses(trainer, turns)
    else:
        from plain import train

        rows = ({view: list(part.rows) for view, part in cut.items()} for cut in cuts)
        layer = RMU_LAYER[shape] if "RMU" in objective else None
        losses = plain_losses(train(model, objective, rows, LEARNING_RATE, WEIGHT_DECAY, layer), turns)
    seconds, step = sum(turns.seconds) / len(cuts), statistics.median(turns.seconds[: len(cuts)])
    tokens = sum(len(row.ids) for cut in cuts for part in cut.values() for row in part.rows) / len(cuts)
    predicted = sum(predicted_tokens(trainer.objective, cut) for cut in cuts) / len(cuts)
    peak = peak_mib(torch)
    flops = useful_flops(model, RMU_LAYER[shape] if "RMU" in objective else None, tokens, predicted)
    sizes = {"peak": peak, "loaded": loaded, "tokens": tokens, "flops": flops}
    pipe.send({"seconds": seconds, "step": step, "losses": losses, **sizes})


def batches(trainer, epoch):
    """The rows of each optimiser step of an epoch, by view."""
    from expunge.training.batching import VIEWS

    size, pairing = trainer.args.per_device_train_batch_size, trainer.pairing
    order = pairing.order(epoch)
    for at in range(0, len(order), size):
        keys = {
            v: [k for i in order[at : at + size] for k in VIEWS[v].keys(pairing, epoch, i)]
            for v in trainer.objective.views
        }
        yield trainer.encoded.batch(keys)


def predicted_tokens(objective, cut):
    """How many tokens the objective looks at the logits of: the completions', or all but each row's first (ME)."""
    from expunge.training.loss import sources, whole

    return sum(
        len(row.ids) - 1 if whole(objective, source) else row.completion_tokens
        for source in sources(objective)
        for row in cut[source[0]].rows
    )


def body_parameters(model):
    return sum(p.numel() for p in model.model.layers.parameters())


def useful_flops(model, layer, tokens, predicted):
    """Of the matrix products with weights in a step, padding and recomputation left out.

    Two per weight and token forward, four backward; the head at the tokens whose logits are asked for. Where the
    objective stops at a layer, forward up to it, backward through the three that are trained.
    """
    body = body_parameters(model)
    if layer is None:
        return 6 * (body * tokens + model.lm_head.weight.numel() * predicted)
    return body / len(model.model.layers) * (2 * (layer + 1) + 4 * min(3, layer + 1)) * tokens


def peak_mib(torch, reset=False):
    """The most memory this process held so far: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def matmul_rate():
    """Floating-point operations per second of a large matrix product on this device, the best of five."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 1536
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


class Side:
    """One side in a process of its own."""

    def __init__(self, *arguments):
        context = multiprocessing.get_context("spawn")
        self.name, self.result = " ".join(map(str, arguments[:3])), None
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=run, args=(*arguments, there))
        self.process.start()
        there.close()
        self.wait()

    def wait(self):
        """Until it asks for its next turn, or has its result."""
        try:
            message = self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name} failed") from None
        if message != "ready":
            self.result = message
            self.process.join()

    def turn(self):
        """One step."""
        self.pipe.send("go")
        self.wait()


def run_sides(*arguments, together):
    """The numbers of both sides: in turns, or one side after the other where both do not fit on the device."""
    groups = [["expunge", "plain"]] if together else [["expunge"], ["plain"]]
    results = []
    for group in groups:
        sides = [Side(name, *arguments) for name in group]
        while waiting := [side for side in sides if side.result is None]:
            for side in waiting:
                side.turn()
        results += [side.result for side in sides]
    return results


def compare(shape, objective, data, vocabulary, rate, together):
    """Both sides of one objective as one row of the result."""
    ours, plain = run_sides(shape, objective, data, vocabulary, together=together)
    pairs = zip(ours["losses"], plain["losses"], strict=True)
    difference = max(abs(a - b) / max(abs(b), 1e-8) for a, b in pairs)
    if difference > 1e-4:
        raise SystemExit(f"{objective}: the losses differ by {difference:.2g}, so the times cannot be compared")
    return {
        "objective": objective,
        "seconds_per_step": round(ours["seconds"], 4),
        "plain_seconds_per_step": round(plain["seconds"], 4),
        "speedup": round(plain["seconds"] / ours["seconds"], 2),
        "useful_tokens_per_second": round(ours["tokens"] / ours["seconds"]),
        "peak_mib": round(ours["peak"]),
        "plain_peak_mib": round(plain["peak"]),
        "extra_mib": round(ours["peak"] - ours["loaded"]),
        "plain_extra_mib": round(plain["peak"] - plain["loaded"]),
        "median_step": round(ours["step"], 4),
        "plain_median_step": round(plain["step"], 4),
        "matmul_share": round(ours["flops"] / ours["seconds"] / rate, 3),
        "median_step_matmul_share": round(ours["flops"] / ours["step"] / rate, 3),
        "plain_matmul_share": round(ours["flops"] / plain["seconds"] / rate, 3),
        "loss_difference": difference,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="cpu30m")
    parser.add_argument("--objective", action="append", help="may be repeated; default: all")
    parser.add_argument("--data", help="a TOFU folder; default: the embedded example")
    parser.add_argument("--vocabulary", type=int, help="another vocabulary size than the shape's")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    result = {
        "shape": options.shape,
        "device": device,
        "vocabulary": options.vocabulary or SHAPES[options.shape][5],
        "data": "TOFU forget10 and retain90" if options.data else "embedded example",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "matmul_gflops": round(matmul_rate() / 1e9, 1),
        "rows": [],
    }
    for objective in options.objective or OBJECTIVES:
        rate = result["matmul_gflops"] * 1e9
        row = compare(options.shape, objective, options.data, options.vocabulary, rate, not torch.cuda.is_available())
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
