"""Run by the Python of an environment with vLLM, which has no expunge: a request on standard input, answers to a file.

The request is JSON: `model`, `prompts` (token ids), `new_tokens` (a limit for each), `stop` (token ids), `memory` (the
share of graphics memory to take). The answers are a list of lists of token ids, without the token that ended them.
"""

import importlib
import json
import sys
from itertools import takewhile


def main(out: str) -> None:
    """Answer every prompt greedily."""
    request = json.load(sys.stdin)
    vllm = importlib.import_module("vllm")  # of that environment: expunge does not depend on it
    engine = vllm.LLM(model=request["model"], dtype="float32", gpu_memory_utilization=request["memory"])
    settings = [
        vllm.SamplingParams(temperature=0.0, max_tokens=limit, stop_token_ids=request["stop"], detokenize=False)
        for limit in request["new_tokens"]
    ]
    prompts = [{"prompt_token_ids": ids} for ids in request["prompts"]]
    outputs = engine.generate(prompts, settings, use_tqdm=False)
    stop = set(request["stop"])
    answers = [list(takewhile(lambda token: token not in stop, output.outputs[0].token_ids)) for output in outputs]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(sys.argv[1])
