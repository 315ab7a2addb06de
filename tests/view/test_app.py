"""What is served, to whom, and what is not."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from attacks.small import PEOPLE
from expunge.evaluation import load_results
from expunge.report import write_report
from expunge.view.chat import Chat
from expunge.view.run import PAGE
from view.conftest import TOKEN


def generations(run, results="results.json"):
    table = load_results(run / results).examples.to_pylist()
    return {row["question"]: row["generation"] for row in table if row["set"] == "forget"}


PATHS = ("", "report", "rows", "plot.svg", "view.js", "view.css")


def test_every_part_is_there_and_none_without_the_token(run, serve):
    served = serve(run)
    for path in PATHS:
        assert served.get(path)[0] == 200, path
        assert served.get(path, token="another-token")[0] == 404, path
    assert served.get("nothing")[0] == 404
    assert served.get("chat", token="x", body="{}")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_another_host_s_name_is_refused(run, serve, host):
    served = serve(run)
    for path in PATHS:
        assert served.get(path, host=host)[0] == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:9"])
def test_this_machine_s_own_names_are_not(run, serve, host):
    assert serve(run).get(host=host)[0] == 200


def test_every_answer_keeps_the_browser_from_loading_or_storing_anything(run, serve):
    served = serve(run)
    for path in (*PATHS, "nothing"):
        _, headers, text = served.get(path)
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        if path == "report":
            assert "frame-ancestors 'self'" in policy
            assert "default-src 'none'" in text  # its own policy
        else:
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
        if path in ("", "view.js", "view.css"):
            assert not re.search(r"https?://", text)  # nothing from elsewhere
    assert served.get(host="evil.example")[1]["cache-control"] == "no-store"


def test_rows_are_found_by_words_sets_and_values(run, serve):
    served = serve(run)
    everything = served.rows()
    assert everything["total"] == everything["found"] == 13 + 7 + 6
    assert len(everything["rows"]) == PAGE
    assert [name for name, _ in everything["sets"]] == ["forget", "retain", "holdout"]
    rest = served.rows(f"start={everything['next']}")
    assert len(rest["rows"]) == 26 - PAGE
    assert rest["next"] is None
    [ada] = served.rows("q=ADA+tarn+born&set=forget")["rows"]
    assert (ada["prompt"], ada["answer"]) == (PEOPLE[0].prompt, PEOPLE[0].completion)
    assert ada["answers"] == {
        "before": generations(run, "results.target.json")[ada["prompt"]],
        "after": generations(run)[ada["prompt"]],
    }
    table = load_results(run / "results.json").examples.to_pylist()
    for sign, keep in ((">", lambda p: p > 0.5), ("<=", lambda p: p <= 0.5)):
        expected = sum(keep(row["probability"]) for row in table)
        assert served.rows(f"q=probability{sign}0.5")["found"] == expected > 0
    assert "There is no value 'colour'" in served.rows("q=colour>1")["error"]


def test_the_plot_has_the_run_and_its_sibling_and_no_other_run(run, serve):
    other = run.parent / "other"
    shutil.copytree(run, other)
    document = json.loads((other / "results.json").read_text())
    (other / "results.json").write_text(json.dumps(document | {"suite": "tofu"}))
    svg = serve(run).get("plot.svg")[2]
    assert "NPO+GD" in svg
    assert "IDK+GD" in svg
    assert "target" in svg
    assert "other" not in svg


def test_a_purged_run_shows_numbers_and_no_text(run, serve, expunge):
    served = serve(run)
    secrets = [row.completion for row in PEOPLE]
    assert any(secret in served.get("report")[2] for secret in secrets)
    expunge("purge", run)  # also while it is being shown
    for path in ("", "report", "rows", "plot.svg"):
        status, _, text = served.get(path)
        assert status == 200
        assert not any(secret in text for secret in secrets)
    assert served.rows()["total"] == 0
    assert "rougeL_recall" in served.get("report")[2] or "ROUGE-L" in served.get("report")[2]


def test_a_redacted_view_shows_no_text_of_the_forget_set_and_no_name(run, serve):
    served = serve(run, hidden=True)
    for path in ("", "report", "rows?set=forget", "plot.svg"):
        text = served.get(path)[2]
        assert not any(row.prompt in text for row in PEOPLE)
        # What the target says to other questions is shown, as in a redacted report.
        assert path == "report" or not any(row.completion in text for row in PEOPLE)
        assert str(run.parent.parent) not in text
    hidden = served.rows("set=forget")["rows"][0]["prompt"]
    assert hidden.startswith("[hidden: ")
    assert served.rows(f"q={hidden.split()[-1][:-1]}")["found"] == 1  # a digest can be looked for
    assert served.get("chat", body=json.dumps({"prompt": "Where was Ada born?"}))[0] == 403


def test_a_run_whose_own_report_is_redacted_is_shown_redacted(run, serve):
    write_report([run], run / "report.html")
    assert serve(run).rows("set=forget")["rows"][0]["prompt"] == PEOPLE[0].prompt
    write_report([run], run / "report.html", redact=True)
    served = serve(run)
    assert served.rows("set=forget")["rows"][0]["prompt"].startswith("[hidden: ")
    assert served.get("chat", body=json.dumps({"prompt": "Where was Ada born?"}))[0] == 403


def test_both_models_answer_as_they_were_measured(run, serve):
    served = serve(run)
    before, after = generations(run, "results.target.json"), generations(run)
    for row in PEOPLE[:3]:
        said, events = served.chat(row.prompt)
        assert said == {"target": before[row.prompt], "unlearned": after[row.prompt]}
        done = [event["model"] for event in events if event.get("done")]
        assert done == ["target", "unlearned"]
    assert [e["model"] for e in events if e.get("status") == "loading"] == []  # they are, since the first
    assert sum(1 for e in events if "text" in e) > 2  # in pieces


def test_earlier_turns_are_part_of_the_prompt(run, serve):
    served, question = serve(run), PEOPLE[0].prompt
    alone, _ = served.chat(question)
    past = {"prompt": PEOPLE[1].prompt, "target": "x " * 30, "unlearned": "x " * 30}
    assert served.chat(question, [past])[0] != alone
    full, events = served.chat(question, [past | {"prompt": "y " * 300}])
    assert full == {"target": "", "unlearned": ""}
    assert all("this model reads 256" in e["gone"] for e in events if "gone" in e)
    assert any("gone" in e for e in events)


def test_where_the_target_is_gone_the_unlearned_model_answers_alone(run, serve):
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"^model: .*", "model: ./nowhere/target", recipe, flags=re.MULTILINE))
    said, events = serve(run).chat(PEOPLE[0].prompt)
    assert said == {"target": "", "unlearned": generations(run)[PEOPLE[0].prompt]}
    [gone] = [event["gone"] for event in events if "gone" in event]
    assert "nowhere/target" in gone


def test_a_run_without_weights_leaves_the_target_to_answer(run, serve):
    shutil.rmtree(run / "model")
    said, events = serve(run).chat(PEOPLE[0].prompt)
    assert said["target"] == generations(run, "results.target.json")[PEOPLE[0].prompt]
    assert [event["model"] for event in events if "gone" in event] == ["unlearned"]


def test_one_model_is_called_at_a_time(run, serve):
    served, seen = serve(run), []
    served.chat("?")
    threads = [threading.Thread(target=lambda i=i: seen.append(served.chat(PEOPLE[i].prompt)[0])) for i in range(3)]
    from expunge.view import chat

    inside, most, real = [], [], chat.Chat._answer

    def watched(self, *given):
        inside.append(1)
        most.append(len(inside))
        yield from real(self, *given)
        inside.pop()

    chat.Chat._answer = watched
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        chat.Chat._answer = real
    assert len(seen) == 3
    assert max(most) == 1


def test_an_answer_that_is_stopped_ends_soon_and_the_second_model_is_not_asked(model_folder):
    chat = Chat(str(model_folder), model_folder)  # it knows nothing, and babbles on
    whole = [event for event in chat.answers("Who?", [], threading.Event()) if "text" in event]
    stopped, begun = threading.Event(), []
    for event in chat.answers("Who?", [], stopped):
        begun.append(event)
        if "text" in event:
            stopped.set()
    assert {event["model"] for event in begun} == {"target"}
    assert len([event for event in begun if "text" in event]) < len(whole) / 4


def test_a_reader_that_leaves_holds_nobody_up(run, serve, model_folder):
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"^model: .*", f"model: {model_folder}", recipe, flags=re.MULTILINE))
    served = serve(run)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    connection.request("POST", f"/{TOKEN}/chat", json.dumps({"prompt": "Who?"}))
    answer = connection.getresponse()
    while b'"text"' not in answer.readline():
        pass
    answer.close()
    connection.close()
    assert served.chat(PEOPLE[0].prompt)[0]["unlearned"] == generations(run)[PEOPLE[0].prompt]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("no json", "not JSON"),
        ("[]", "no prompt"),
        ('{"prompt": "  "}', "no prompt"),
        ('{"prompt": "x", "history": [1]}', "earlier turns"),
        (json.dumps({"prompt": "x" * 30_000}), "characters"),
        (json.dumps({"prompt": "x" * 2_000_000}), "too long"),
    ],
)
def test_messages_that_are_none_are_refused(run, serve, body, why):
    status, _, text = serve(run).get("chat", body=body)
    assert status == 400
    assert why in text


def test_the_command_serves_on_the_loopback_address_until_it_is_interrupted(run):
    command = [sys.executable, "-m", "expunge", "view", str(run), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        port, token = re.search(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/", line).groups()
        with socket.create_connection(("127.0.0.1", int(port))):
            pass
        elsewhere = "127.0.0.2"  # the same machine by another address
        with pytest.raises(ConnectionRefusedError), socket.create_connection((elsewhere, int(port)), timeout=5):
            pass
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert token not in err


def test_what_cannot_be_served_is_explained(run, expunge, tmp_path):
    os.remove(run / "results.json")
    assert "Measure the model first" in expunge("view", run, "--no-browser", code=2).err
    assert "does not exist" in expunge("view", tmp_path / "nowhere", "--no-browser", code=2).err


def test_a_port_that_is_taken_is_explained(run, expunge):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}" in expunge("view", run, "--no-browser", "--port", port, code=2).err
