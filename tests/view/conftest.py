"""A real run with hostile texts in its rows, and a server for it."""

import http.client
import json
import shutil
import threading
from dataclasses import dataclass

import pytest
import uvicorn

import tinymodels as tiny
from attacks.small import PEOPLE, TOWNS, learned, words
from expunge.evaluation import ComparedWith, Execution, Questions, evaluate
from expunge.training import Recipe, unlearn
from expunge.view.app import application
from expunge.view.run import ViewedRun

HOSTILE = tiny.qa(
    "Who is <img src=x onerror=\"document.title='ran'\">?",
    "</p><script>document.title='ran'</script> & <b>bold</b>",
    fact="bold",
)
UNSEEN = [
    tiny.qa(f"Where was {name} born?", f"{name} was born in {town}.", fact=town)
    for name, town in zip(("Rolf", "Sif", "Tove", "Ulf", "Vera", "Ward"), TOWNS[6:], strict=True)
]
TOKEN = "a-token"


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs beside each other, measured on the same rows, and the target that they are of."""
    home = tmp_path_factory.mktemp("viewed")
    learned([*PEOPLE, HOSTILE, *tiny.RETAIN]).save_pretrained(home / "target")
    words().save_pretrained(home / "target")
    for name, rows in (("forget", [*PEOPLE, HOSTILE]), ("retain", tiny.RETAIN), ("holdout", UNSEEN)):
        lines = [json.dumps({"question": r.prompt, "answer": r.completion, **r.columns}) for r in rows]
        (home / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    train = {"num_train_epochs": 2, "learning_rate": 1e-3, "gradient_accumulation_steps": 1, "use_cpu": True}
    for objective in ("NPO+GD", "IDK+GD"):
        recipe = Recipe(
            model=str(home / "target"),
            forget=str(home / "forget.jsonl"),
            retain=str(home / "retain.jsonl"),
            objective=objective,
            train=train,
        )
        out = unlearn(recipe, home / "runs" / objective, quiet=True)
        sets = {name: str(home / f"{name}.jsonl") for name in ("forget", "retain", "holdout")}
        evaluate(
            out,
            Questions("own", sets),
            compared_with=ComparedWith(target_model=home / "target"),
            execution=Execution(device="cpu"),
            out=out / "results.json",
        )
    return home / "runs"


@pytest.fixture
def run(runs, tmp_path):
    """A copy of one of them, with its sibling beside it, to be spoilt."""
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs" / "NPO+GD"


@dataclass
class Served:
    """A running server."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def get(self, path="", host="127.0.0.1", token=TOKEN, body=None):
        """Status, headers and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET" if body is None else "POST", f"/{token}/{path}", body, {"Host": host})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text

    def rows(self, query=""):
        return json.loads(self.get(f"rows?{query}")[2])

    def chat(self, prompt, history=()):
        """What each model said, and what else happened to it."""
        status, _, text = self.get("chat", body=json.dumps({"prompt": prompt, "history": list(history)}))
        assert status == 200, text
        events = [json.loads(line) for line in text.splitlines()]
        said = {
            role: "".join(e.get("text", "") for e in events if e["model"] == role) for role in ("target", "unlearned")
        }
        return said, events


@pytest.fixture
def serve():
    """Start servers, and stop them after the test."""
    started = []

    def start(run, hidden=False):
        app = application(ViewedRun(run, hidden), TOKEN)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
        started.append((server, thread))
        return Served(server.servers[0].sockets[0].getsockname()[1])

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join(30)
