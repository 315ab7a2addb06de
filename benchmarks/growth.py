"""How step time and memory grow with rows and their length, with a reference model in the objective and without one.

    python benchmarks/growth.py --json benchmarks/results/growth-cpu.json --figure docs/images/growth.svg

NPO+GD needs the reference model's values, SimNPO+GD computes the same but for them. What the reference costs once,
before the first step, is told apart. Every point is measured in a process of its own, so that peak memory is its own.
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from itertools import pairwise
from pathlib import Path

SHAPES = {
    # hidden, layers, heads, key-value heads, intermediate, vocabulary; rows and tokens a row where the other varies;
    # rows per micro-batch; tokens a row
    "tiny": ((64, 2, 4, 2, 128, 1024), 2, 32, [1, 2, 4], [16, 32, 64]),
    "small": ((256, 4, 4, 4, 704, 4096), 4, 128, [2, 4, 8, 12, 16], [64, 128, 256, 384, 512]),
    "llama1b": ((2048, 16, 32, 8, 8192, 128256), 4, 256, [1, 2, 4, 8, 16], [64, 128, 256, 512, 1024]),
}
OBJECTIVES = {"NPO+GD": "with a reference model", "SimNPO+GD": "without"}
STEPS = 5


def measure(shape, objective, rows, length, pipe):
    """One point; sends its numbers through the pipe."""
    import torch
    from synthetic import llama, random_rows, word_tokenizer
    from train import peak_mib
    from transformers import TrainerCallback

    from expunge import UnlearningConfig, UnlearningTrainer
    from expunge.training.frozen import StoredReference

    prepare, prepared = StoredReference.prepare, []

    def timed(*arguments, **options):
        start = time.perf_counter()
        reference = prepare(*arguments, **options)
        prepared.append(time.perf_counter() - start)
        return reference

    StoredReference.prepare = timed

    class Clock(TrainerCallback):
        """When each step ended."""

        def __init__(self):
            self.times = []

        def note(self, args, state, control, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

        on_step_end = note

    forget, retain = random_rows(rows, length, 1), random_rows(rows * STEPS, length, 2)
    with tempfile.TemporaryDirectory(prefix="expunge-benchmark-") as folder:
        args = UnlearningConfig(
            output_dir=folder,
            objective=objective,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=1,
            num_train_epochs=STEPS,
            save_strategy="no",
            disable_tqdm=True,
        )
        clock = Clock()
        model = llama(*SHAPES[shape][0])
        trainer = UnlearningTrainer(model, args, forget, retain, word_tokenizer(), callbacks=[clock])
        loaded = peak_mib(torch, reset=True)
        trainer.train()
        peak = peak_mib(torch)
    steps = [after - before for before, after in pairwise(clock.times)]  # but the first, which warms up
    pipe.send(
        {
            "objective": objective,
            "rows": rows,
            "length": length,
            "seconds_per_step": round(min(steps), 4),
            "preparation_seconds": round(sum(prepared), 4) if prepared else None,
            "extra_mib": round(peak - loaded, 1),
        }
    )


def point(context, shape, objective, rows, length):
    """Run `measure` in a fresh process and return what it sends."""
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(shape, objective, rows, length, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise SystemExit(f"{objective} failed with {rows} rows of {length} tokens") from None
    finally:
        process.join()


def line(points, x, y):
    """The straight line nearest to the points, and the share of their variance that it explains."""
    import numpy as np

    xs, ys = (np.array([p[name] for p in points], dtype=float) for name in (x, y))
    slope, intercept = np.polyfit(xs, ys, 1)
    unexplained = ((ys - slope * xs - intercept) ** 2).sum() / ((ys - ys.mean()) ** 2).sum()
    return {"slope": float(slope), "intercept": float(intercept), "r2": float(1 - unexplained)}


def summary(points, axis):
    """Straight lines through the points of each objective, and what the reference adds to a step."""
    found = {
        objective: {
            y: line([p for p in points if p["objective"] == objective], axis, y)
            for y in ("seconds_per_step", "extra_mib")
        }
        for objective in OBJECTIVES
    }
    pairs = zip(*([p for p in points if p["objective"] == objective] for objective in OBJECTIVES), strict=True)
    ratios = [{y: round(a[y] / b[y], 3) for y in ("seconds_per_step", "extra_mib")} | {axis: a[axis]} for a, b in pairs]
    return {"lines": found, "with_over_without": ratios}


def draw(result, file):
    """Four panels: step time and extra memory, against rows and against length."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(8, 5.6), layout="constrained", sharex="col")
    titles = {"rows": "rows per micro-batch, of {} tokens", "length": "tokens per row, {} rows per micro-batch"}
    for column, (axis, title) in enumerate(titles.items()):
        sweep = result["sweeps"][axis]
        time_panel, memory_panel = panels[:, column]
        for (objective, words), mark in zip(OBJECTIVES.items(), ("o", "x"), strict=True):
            points = [p for p in sweep["points"] if p["objective"] == objective]
            xs = [p[axis] for p in points]
            label = f"{objective}, {words}"
            for panel, y in ((time_panel, "seconds_per_step"), (memory_panel, "extra_mib")):
                fit = sweep["lines"][objective][y]
                (drawn,) = panel.plot(xs, [p[y] for p in points], mark, label=label)
                ends = [0, max(xs)]
                panel.plot(ends, [fit["intercept"] + fit["slope"] * x for x in ends], color=drawn.get_color(), lw=0.8)
            if objective == next(iter(OBJECTIVES)):
                once = [p["preparation_seconds"] for p in points]
                time_panel.plot(xs, once, "s:", color="grey", label="its reference, once a run")
        memory_panel.set_xlabel(title.format(sweep["fixed"]))
        for panel in (time_panel, memory_panel):
            panel.set_xlim(left=0)
            panel.set_ylim(bottom=0)
    panels[0, 0].set_ylabel("seconds per step")
    panels[1, 0].set_ylabel("memory above the loaded model, MiB")
    panels[0, 0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--figure", type=Path, help="draw it here, as SVG")
    options = parser.parse_args()
    import torch

    # Points are forked from a process that has loaded the libraries and nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "expunge.training.trainer"])
    _, some_rows, some_length, rows, lengths = SHAPES[options.shape]
    sweeps = {}
    for axis, fixed, values in (("rows", some_length, rows), ("length", some_rows, lengths)):
        points = []
        for value in values:
            for objective in OBJECTIVES:
                cut = (value, fixed) if axis == "rows" else (fixed, value)
                points.append(point(context, options.shape, objective, *cut))
                print(json.dumps(points[-1]), flush=True)
        sweeps[axis] = {"fixed": fixed, "points": points, **summary(points, axis)}
    result = {
        "shape": options.shape,
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"cpu, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "sweeps": sweeps,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.figure:
        draw(result, options.figure)


if __name__ == "__main__":
    main()
