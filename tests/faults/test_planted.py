"""Code that others have planted in models, rows, recipes and runs: never run, wherever it lies."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertForSequenceClassification

from evaluation.tiny import bert_folder
from expunge.cli.main import main
from faults.commands import EVERY, TRAIN

RAN = "ran"  # the file that planted code makes
JINJA = [
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "{% for c in ''.__class__.__mro__[1].__subclasses__() %}"
    "{% if c.__name__ == 'Popen' %}{{ c('touch CANARY', shell=1) }}{% endif %}{% endfor %}",
    "{{ messages.__class__.__init__.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}{{ self.__init__.__globals__.__builtins__.open('CANARY', 'w') }}",
]
YAML = [
    "!!python/object/apply:os.system ['touch CANARY']",
    "!!python/object/new:subprocess.Popen [['touch', 'CANARY']]",
    "!!python/module:planted",
    "!!python/object/apply:builtins.open [CANARY, w]",
]


class Opened:
    """Makes the file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


class Place:
    """A model, rows, and what is planted among them."""

    def __init__(self, folder: Path, model: Path, data: Path) -> None:
        self.folder, self.canary = folder, folder / RAN
        self.model = shutil.copytree(model, folder / "model")
        self.data = shutil.copytree(data, folder / "data")
        self.code = f"open({str(self.canary)!r}, 'w')\n"

    def bomb(self, *where: str) -> None:
        """Pickles, as `pickle` and as `torch` write them."""
        for i, name in enumerate(where):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True, parents=True)
            if i % 2:
                path.write_bytes(pickle.dumps(Opened(self.canary)))
            else:
                torch.save({"weight": Opened(self.canary)}, path)

    def settings(self, name: str, **values: Any) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps((json.loads(file.read_text()) if file.is_file() else {}) | values))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True, parents=True)
        (self.folder / name).write_text(text.replace("CANARY", str(self.canary)))

    def loss(self, **options: Any) -> list[Any]:
        given = {"model": self.model, "forget": self.data / "forget.jsonl", "objective": "GA"} | options
        return ["loss", *(word for key, value in given.items() for word in (f"--{key}", value))]

    def eval(self, **options: Any) -> list[Any]:
        given = {"model": self.model, "data": self.data / "forget.jsonl", "out": self.folder / "results.json"} | options
        return ["eval", "--suite", "own", *(w for k, v in given.items() for w in (f"--{k.replace('_', '-')}", v))]


def pickled(place: Place) -> list[Any]:
    (place.model / "model.safetensors").unlink()
    place.bomb("model/pytorch_model.bin")
    return place.loss()


def pickled_beside_a_decoy(place: Place) -> list[Any]:
    (place.model / "model.safetensors").rename(place.model / "other.safetensors")
    place.bomb("model/pytorch_model.bin", "model/model.pt")
    return place.loss()


def pickled_beside_weights(place: Place) -> list[Any]:
    place.bomb("model/pytorch_model.bin", "model/training_args.bin", "model/optimizer.pt", "model/tokenizer.pkl")
    return place.loss()


def pickled_under_a_safe_name(place: Place) -> list[Any]:
    place.bomb("model/model.safetensors")
    return place.loss()


def an_index_of_pickles(place: Place) -> list[Any]:
    (place.model / "model.safetensors").unlink()
    place.bomb("model/shard.bin")
    for name in ("pytorch_model.bin.index.json", "model.safetensors.index.json"):
        place.settings(f"model/{name}", metadata={}, weight_map={"lm_head.weight": "shard.bin"})
    return place.loss()


def a_pickled_adapter(place: Place) -> list[Any]:
    place.bomb("adapter/adapter_model.bin")
    place.settings("adapter/adapter_config.json", peft_type="LORA", base_model_name_or_path=str(place.model), r=2)
    return place.loss(model=place.folder / "adapter")


def a_library_of_an_adapter(place: Place) -> list[Any]:
    mapping = {"base_model_class": "Anything", "parent_library": "planted"}
    place.settings(
        "adapter/adapter_config.json",
        **{"peft_type": "LORA", "base_model_name_or_path": str(place.model), "r": 2, "auto_mapping": mapping},
    )
    place.bomb("adapter/adapter_model.safetensors")
    return place.loss(model=place.folder / "adapter")


def remote_code(place: Place) -> list[Any]:
    place.write("model/code.py", place.code)
    place.settings(
        "model/config.json", model_type="x", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    )
    return place.loss()


def remote_code_of_a_known_kind(place: Place) -> list[Any]:
    place.write("model/code.py", place.code)
    place.settings("model/config.json", auto_map={"AutoModelForCausalLM": "code.M", "AutoConfig": "code.C"})
    return place.loss()


def a_remote_tokenizer(place: Place) -> list[Any]:
    place.write("model/code.py", place.code)
    place.settings("model/tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", "code.T"]}, tokenizer_class="T")
    return place.loss()


def a_way_to_generate(place: Place) -> list[Any]:
    place.write("model/custom_generate/generate.py", place.code)
    place.settings("model/generation_config.json", custom_generate=str(place.model), auto_map={"x": "code.C"})
    return place.eval()


def a_kernel(place: Place) -> list[Any]:
    place.write("model/planted.py", place.code)
    place.settings("model/config.json", attn_implementation="planted/kernel", _attn_implementation="planted/kernel")
    return place.loss()


def template(text: str) -> Callable[[Place], list[Any]]:
    def plant(place: Place) -> list[Any]:
        place.write("model/chat_template.jinja", text)
        return place.eval()

    return plant


def template_option(place: Place) -> list[Any]:
    return place.loss(template=JINJA[0].replace("CANARY", str(place.canary)))


def recipe(tag: str) -> Callable[[Place], list[Any]]:
    def plant(place: Place) -> list[Any]:
        place.write("recipe.yaml", f"model: m\nforget: f\ntrain:\n  seed: {tag}\n")
        return ["validate", place.folder / "recipe.yaml"]

    return plant


def option(place: Place) -> list[Any]:
    return ["unlearn", "--model", place.model, f"train.seed={YAML[0].replace('CANARY', str(place.canary))}"]


def front_matter(place: Place) -> list[Any]:
    place.write("data/README.md", f"---\nconfigs: {YAML[0]}\n---\n")
    return place.loss(forget=place.data)


def a_loading_script(place: Place) -> list[Any]:
    for name in ("data.py", "forget.py", "__init__.py", "conftest.py", "dataset_infos.py"):
        place.write(f"data/{name}", place.code)
    return place.loss(forget=f"{place.data}:forget")


def a_pickled_column(place: Place) -> list[Any]:
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Opened(place.canary)),
    }
    fields = [pa.field("question", pa.string(), metadata=metadata), pa.field("answer", pa.string())]
    pq.write_table(pa.table([["Who?"], ["Ada."]], pa.schema(fields)), place.data / "rows.parquet")
    return place.loss(forget=place.data / "rows.parquet")


def rows_that_look_like_code(place: Place) -> list[Any]:
    rows = [{"question": JINJA[0].replace("CANARY", str(place.canary)), "answer": "{% raw %}=cmd|'/C calc'!A0"}]
    place.write("data/rows.jsonl", "\n".join(map(json.dumps, rows)))
    return place.eval(data=place.data / "rows.jsonl")


def an_embedding_module(place: Place) -> list[Any]:
    place.write("embedder/planted.py", place.code)
    place.write("embedder/modules.json", json.dumps([{"idx": 0, "name": "0", "path": "", "type": "planted.Module"}]))
    place.settings("embedder/config_sentence_transformers.json", model_type="SentenceTransformer")
    return place.eval(embedding_model=place.folder / "embedder")


def judge(name: str, value: str) -> Callable[[Place], list[Any]]:
    def plant(place: Place) -> list[Any]:
        folder = Path(bert_folder(place.folder / "judge", BertForSequenceClassification))
        (folder / "model.safetensors").unlink()
        place.bomb("judge/pytorch_model.bin")
        return place.eval(**{name: value.replace("JUDGE", str(folder))})

    return plant


PLANTED: dict[str, Callable[[Place], list[Any]]] = {
    "pickled weights": pickled,
    "pickled weights beside a decoy": pickled_beside_a_decoy,
    "pickles beside weights": pickled_beside_weights,
    "a pickle under a safe name": pickled_under_a_safe_name,
    "an index of pickles": an_index_of_pickles,
    "a pickled adapter": a_pickled_adapter,
    "a library that an adapter names": a_library_of_an_adapter,
    "remote code": remote_code,
    "remote code of a known kind": remote_code_of_a_known_kind,
    "a remote tokenizer": a_remote_tokenizer,
    "a way to generate": a_way_to_generate,
    "a kernel": a_kernel,
    **{f"template {i}": template(text) for i, text in enumerate(JINJA)},
    "a template on the command line": template_option,
    **{f"recipe {i}": recipe(tag) for i, tag in enumerate(YAML)},
    "an option": option,
    "front matter": front_matter,
    "a loading script": a_loading_script,
    "a pickled column": a_pickled_column,
    "rows that look like code": rows_that_look_like_code,
    "an embedding module": an_embedding_module,
    "a pickled judge": judge("nli_model", "JUDGE"),
    "a pickled classifier": judge("classifier", "gibberish=JUDGE:noise"),
    "a pickled reward model": judge("reward_model", "JUDGE"),
}
QUICK = ("pickled weights beside a decoy", "a library that an adapter names", "template 0", "recipe 0", "front matter")


@pytest.fixture
def place(tmp_path, model_folder, data, monkeypatch):
    made = Place(tmp_path, model_folder, data)
    made.write("planted.py", made.code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.fault("planted code")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PLANTED]
)
def test_planted_code_never_runs(name, place, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, PLANTED[name](place))])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert not place.canary.exists()
    assert stop.value.code in (0, 2), said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.fault("planted code")
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "recipe.yaml"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_nor_in_an_unfinished_run(name, how, place, forks):
    sets = ("--forget", place.data / "forget.jsonl", "--retain", place.data / "retain.jsonl")
    words = ["unlearn", "--model", place.model, *sets, "--out", place.folder / "run", *TRAIN, *EVERY]
    done = forks.run([*words, "train.save_steps=1", "train.num_train_epochs=1"], under=place.folder, kill=80)
    assert done.killed
    (checkpoint,) = [mark.parent for mark in place.folder.glob("run.unfinished/checkpoint-*/whole")]
    if name == "recipe.yaml":
        place.write("run.unfinished/recipe.yaml", f"model: {YAML[how == 'torch']}\n")
    else:
        assert (checkpoint / name).is_file()
        if how == "torch":
            torch.save({"state": Opened(place.canary)}, checkpoint / name)
        else:
            (checkpoint / name).write_bytes(pickle.dumps(Opened(place.canary)))
    done = forks.run(["unlearn", "--resume", "--quiet", "--out", place.folder / "run"])
    assert not place.canary.exists()
    assert "Traceback" not in done.said
    assert done.code == (0 if name == "training_args.bin" else 2), done.said
    assert done.code == 0 or "run.unfinished" in done.said
