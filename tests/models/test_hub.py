"""A model's path that leads nowhere is said at once, with what is there; a Hub name is asked for once."""

import socket

import pytest

from expunge.errors import InputError
from expunge.models import load_model


@pytest.fixture
def asked(monkeypatch):
    """A network on which no name can be resolved; returns the names that were asked for."""
    names: list[str] = []

    def nowhere(host, *_, **__):
        names.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return names


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("models/targt", "models/target"),
        ("./models/targt", "models/target"),
        ("modls/target", None),  # as good a Hub name as any: asked for, but not found
        ("{here}/modls/target", "{here}/models/target"),
        ("{here}/models/elsewhere", None),
        ("~/models/target", None),
        ("models/target/model/deeper", None),
        ("no model", None),
        ("./elsewhere", None),
        ("elsewhere-", None),  # one word, but none that the Hub allows
    ],
)
def test_a_mistyped_path_is_not_looked_up(asked, tmp_path, monkeypatch, path, near):
    (tmp_path / "models" / "target").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = path.format(here=tmp_path)
    with pytest.raises(InputError, match="no such model folder") as error:
        load_model(path)
    assert path in str(error.value)
    if near is not None:
        assert str(error.value).endswith(f"Did you mean {near.format(here=tmp_path)}?")
    assert asked == [] or path == "modls/target"


def test_a_name_is_asked_for_once_and_near_folders_are_named(asked, tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such model folder, and no model of that name") as error:
        load_model("targt")
    assert str(error.value).endswith("Did you mean target?")
    assert 0 < len(asked) <= 4  # for config.json and adapter_config.json, each tried again once at most


def test_a_name_in_the_cache_is_taken_also_beside_a_folder_of_that_name(asked, tmp_path, monkeypatch):
    from expunge.models.hub import check_hub_name

    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "hub" / "models--org--name" / "refs").mkdir()
    (tmp_path / "hub" / "models--org--name" / "refs" / "main").write_text("main")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "org").mkdir()
    monkeypatch.chdir(tmp_path)
    assert check_hub_name("org/name") == "org/name"
    assert asked == []
