"""Rows from the Hub, by its real client against a server on this machine: read right, and nothing left behind."""

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from expunge.data import Row, Turn, configurations, load_rows
from expunge.errors import InputError

REVISION = "a" * 40
SECRET = "Ada Quill was born in Tarn."
FILES = {
    "README.md": b"---\nconfigs:\n- config_name: forget\n  data_files: forget.json\n- config_name: lists\n"
    b"  data_files:\n  - split: test\n    path: lists.jsonl\n---\n",
    "forget.json": json.dumps({"question": "Who?", "answer": SECRET}).encode() + b"\n",
    "lists.jsonl": json.dumps(
        {"prompt": [{"role": "user", "content": "Who?"}], "completion": "A.", "n": None}
    ).encode(),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as a data set of plain files needs."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(404)

    def do_GET(self):
        path = self.path.partition("?")[0]
        name = path.partition("/resolve/")[2].partition("/")[2]
        if path.startswith("/api/datasets/me/rows/tree/"):
            self.reply(
                200, json.dumps([{"type": "file", "path": p, "size": len(b), "oid": p} for p, b in FILES.items()])
            )
        elif path.startswith("/api/datasets/me/rows"):
            self.reply(
                200, json.dumps({"id": "me/rows", "sha": REVISION, "siblings": [{"rfilename": p} for p in FILES]})
            )
        elif path.startswith("/datasets/me/rows/resolve/") and name in FILES:
            self.server.read.append((self.command, name))
            self.reply(200, FILES[name], etag=f'"{hashlib.sha1(FILES[name]).hexdigest()}"')
        else:
            self.reply(404, **({"x-error-code": "EntryNotFound"} if "/me/rows/" in path else {}))

    def reply(self, code, body=b"", **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(code)
        for header, value in {"content-length": len(body), "x-repo-commit": REVISION, **headers}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server; the user's caches, and the folder of temporary files, are in `tmp_path`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.read = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user" / name.lower()))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    yield server
    server.shutdown()
    server.server_close()


def files_with(folder: Path, text: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


def test_rows_are_read_and_nothing_of_them_stays(hub, tmp_path):
    before = dict(os.environ)
    for _ in range(2):  # what is not kept is downloaded again
        assert load_rows("me/rows:forget") == [Row((Turn("user", "Who?"),), SECRET)]
        assert not files_with(tmp_path, SECRET)
        assert not list((tmp_path / "tmp").iterdir())
    assert hub.read.count(("GET", "forget.json")) == 2
    assert ("GET", "lists.jsonl") not in hub.read  # only what is asked for
    assert dict(os.environ) == before


def test_configurations_splits_and_columns(hub, tmp_path):
    assert configurations("me/rows") == ["forget", "lists"]
    assert load_rows("me/rows:lists:test") == [Row((Turn("user", "Who?"),), "A.", {"n": None})]
    assert not files_with(tmp_path, "config_name")


@pytest.mark.parametrize("spec", ["me/rows:lists", "me/rows:nothing", "me/nothing:forget", "me/nothing"])
def test_what_is_not_there_is_named(hub, tmp_path, spec):
    with pytest.raises(InputError, match=f"{spec}.*neither a local file"):
        load_rows(spec)
    assert not list((tmp_path / "tmp").iterdir())


def test_no_network_is_an_error_message(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"me/rows:forget.*nor readable from the Hub"):
        load_rows("me/rows:forget")


@pytest.mark.parametrize("spec", ["./nothing", "/no/where", "rows.jsonl", "a/b/c:forget", "~/rows"])
def test_paths_are_not_looked_up_on_the_hub(hub, spec):
    for read in (load_rows, configurations):
        with pytest.raises(InputError, match="no such file or folder"):
            read(spec.removesuffix(":forget") if read is configurations else spec)
    assert not hub.read
