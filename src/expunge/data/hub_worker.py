"""Run by `hub` in a separate process, with every cache in a temporary folder: a data set of the Hub to one file.

The request is JSON in the first argument: `source`, `configuration`, `split`, and `out`, the Parquet file to write.
Without `out` it asks for the names of the configurations. The answer is JSON on standard output: `names`, or `error`.
"""

import contextlib
import json
import sys


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.argv[1])
    answer: dict[str, object] = {}
    with contextlib.redirect_stdout(sys.stderr):
        try:
            from datasets import get_dataset_config_names, load_dataset

            source = request["source"]
            if "out" in request:
                load_dataset(source, request["configuration"], split=request["split"]).to_parquet(request["out"])
            else:
                answer["names"] = get_dataset_config_names(source)
        except Exception as error:  # the client raises a dozen unrelated types for "not found" and "no network"
            answer["error"] = str(error) or type(error).__name__
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
