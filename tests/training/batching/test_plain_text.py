"""Plain passages: their beginning is the prompt, or what answers a prompt is refused."""

import json

import pytest
import torch

import tinymodels as tiny
from expunge.cli.main import main
from expunge.data import Row, encode, opened
from expunge.errors import InputError
from expunge.objectives import build_objective
from expunge.training.batching import Sources, plan_rows
from expunge.training.batching.encoding import EncodedViews
from expunge.training.config import UnlearningConfig

PASSAGE = "Ada Quill was born in Tarn. She plays the glass harmonica, and has done so since she was nine."
OTHER = "The Osk runs through Pell. The capital of Lower Maren is Pell, and the flag is green and white."
PASSAGES = [Row((), PASSAGE), Row((), f"{PASSAGE} {OTHER}")]
KEPT = [Row((), OTHER), Row((), f"{OTHER} {PASSAGE}"), Row((), OTHER * 2)]


def planned(tokenizer, tmp_path, objective, forget=PASSAGES, retain=KEPT, length=None, **options):
    args = UnlearningConfig(output_dir=str(tmp_path), use_cpu=True, **options)
    return plan_rows(
        build_objective(objective), forget, retain, tiny.REFUSALS, tokenizer, length, args, tmp_path / "caches"
    )[0]


def texts(tokenizer, encoded):
    return tokenizer.decode(encoded.ids[: encoded.start]), tokenizer.decode(encoded.ids[encoded.start :])


@pytest.mark.parametrize(
    ("text", "characters", "opening"),
    [
        (PASSAGE, 20, "Ada Quill was born "),
        (PASSAGE, 19, "Ada Quill was born "),
        (PASSAGE, 18, "Ada Quill was "),
        ("Ada was born in Tarn", 200, "Ada was "),  # at most half
        ("  Ada was born in Tarn.\n", 4, "  Ad"),  # white space alone is no prompt
        ("我不知道这条河的名字。", 4, "我不知道"),  # no white space to end after
        ("Ada", 200, "A"),
        ("A \n", 200, ""),
    ],
)
def test_the_prompt_is_the_beginning_of_the_passage_and_nothing_is_lost(text, characters, opening):
    row = opened(Row((), text, {"id": 3}), characters)
    assert (row.opening, row.prompt, row.columns) == (opening, opening, {"id": 3})
    assert row.opening + row.completion == text
    assert row.completion.strip()


def test_rows_with_a_prompt_stay_as_they_are():
    assert opened(tiny.FORGET[0], 3) == tiny.FORGET[0]


def test_the_whole_passage_is_tokenised_as_it_was_and_the_loss_starts_after_the_prompt(tokenizer):
    row = opened(PASSAGES[0], 20)
    encoded, whole = encode(tokenizer, row), encode(tokenizer, PASSAGES[0])
    assert encoded.ids == whole.ids
    assert texts(tokenizer, encoded) == ("Ada Quill was born", " in Tarn." + PASSAGE.partition(" in Tarn.")[2])


def test_another_completion_follows_after_white_space_and_has_the_same_prompt(tokenizer):
    row = opened(PASSAGES[0], 20)
    encoded, own = encode(tokenizer, row, "I do not know."), encode(tokenizer, row)
    assert texts(tokenizer, encoded) == ("Ada Quill was born", " I do not know.")
    assert encoded.ids[: encoded.start] == own.ids[: own.start]
    unbroken = Row((), "rest", {}, "beginning")
    assert tokenizer.decode(encode(tokenizer, unbroken, "I do.").ids) == "beginning I do."
    assert tokenizer.decode(encode(tokenizer, unbroken).ids) == "beginningrest"


@pytest.mark.parametrize("objective", ["IDK+AP", "DPO+GD", "LLMU", "AltPO+GD"])
def test_passages_without_a_prompt_are_refused_by_row_view_and_option(tokenizer, tmp_path, objective):
    with pytest.raises(InputError, match=r"forget set, row 1: plain text.*forget_\w+ of .*train\.text_prompt=200"):
        planned(tokenizer, tmp_path, objective, [tiny.FORGET[0], *PASSAGES], tiny.RETAIN)


def test_the_retain_set_needs_prompts_where_its_rows_are_answered(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"retain set, row 0: plain text.*retain_idk"):
        planned(tokenizer, tmp_path, "IDK+AP", tiny.FORGET, KEPT)
    assert planned(tokenizer, tmp_path, "IDK+GD", tiny.FORGET, KEPT)


def test_objectives_that_answer_nothing_take_passages_as_they_are(tokenizer, tmp_path):
    rows = planned(tokenizer, tmp_path, "NPO+GD")
    assert rows.encode("forget", (0,)) == encode(tokenizer, PASSAGES[0])


def test_views_of_passages_with_prompts(tokenizer, tmp_path):
    rows = planned(tokenizer, tmp_path, "LLMU", text_prompt=20)
    assert texts(tokenizer, rows.encode("forget", (0,)))[0] == "Ada Quill was born"
    prompt, completion = texts(tokenizer, rows.encode("forget_mismatch", (0, 1)))
    assert prompt == "Ada Quill was born"
    assert completion == " " + rows.sources.retain[1].completion
    assert completion != " " + KEPT[1].completion  # the rest of the retain passage, not its beginning again


def test_every_window_of_a_long_passage_has_a_prompt(tokenizer, tmp_path):
    forget = [Row((), f"{PASSAGE} " * 4 + "X")]
    for length in range(20, 60):
        rows = planned(tokenizer, tmp_path / str(length), "IDK+GD", forget, length=length, text_prompt=10)
        assert "".join(row.opening + row.completion for row in rows.sources.forget) == forget[0].completion
        assert all(row.opening for row in rows.sources.forget)
        assert all(len(encode(tokenizer, row).ids) <= length for row in rows.sources.forget)


def test_a_passage_too_short_for_a_prompt_is_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"row 2: .*too short"):
        planned(tokenizer, tmp_path, "IDK+GD", [*PASSAGES, Row((), "A")], text_prompt=20)
    with pytest.raises(InputError, match=r"train\.text_prompt: 0 cannot be used"):
        planned(tokenizer, tmp_path, "NPO+GD", text_prompt=0)


def test_token_ids_that_were_kept_are_of_the_same_prompts(tokenizer, tmp_path):
    before = planned(tokenizer, tmp_path, "IDK+GD", text_prompt=20)
    after = planned(tokenizer, tmp_path, "IDK+GD", text_prompt=40)
    assert before.encode("forget_idk", (0, 0)) != after.encode("forget_idk", (0, 0))
    assert after.encode("forget_idk", (0, 0)) == encode(tokenizer, opened(PASSAGES[0], 40), tiny.REFUSALS[0])


def test_long_passages_in_both_sets_overlap(tokenizer, tmp_path):
    with pytest.raises(InputError, match="forget row 1 = retain row 0"):
        planned(tokenizer, tmp_path, "NPO+GD", retain=[Row((), f"{PASSAGES[1].completion}\n")], length=16)


@pytest.fixture
def passages(tmp_path):
    for name, rows in (("forget", PASSAGES), ("retain", KEPT)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": r.completion}) + "\n" for r in rows))
    return tmp_path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_the_command_line_refuses_and_takes_the_option(passages, model_folder, monkeypatch, capsys):
    given = ["--model", model_folder, "--forget", passages / "forget.jsonl", "--retain", passages / "retain.jsonl"]
    unlearn = ["unlearn", *given, "--objective", "IDK+AP", "--out", passages / "run", "--quiet", "train.use_cpu=true"]
    loss = ["loss", *given, "--objective", "IDK", "--json"]
    for command in (unlearn, loss):
        assert run(monkeypatch, *command) == 2
        error = capsys.readouterr().err
        assert "forget set, row 0" in error
        assert "train.text_prompt=200" in error
        assert "Traceback" not in error
    assert not (passages / "run").exists()
    short = ["train.num_train_epochs=1", "train.learning_rate=1e-3"]
    assert run(monkeypatch, *unlearn, *short, "train.text_prompt=20") == 0
    assert "text_prompt: 20" in (passages / "run" / "recipe.yaml").read_text()
    capsys.readouterr()
    values = []
    for prompt in (20, 40):
        assert run(monkeypatch, *loss, f"train.text_prompt={prompt}") == 0
        values.append(json.loads(capsys.readouterr().out)["total"])
    assert values[0] != values[1]


def test_the_value_of_an_objective_is_that_of_its_views(tokenizer, model, passages, model_folder, monkeypatch, capsys):
    given = ["--model", model_folder, "--forget", passages / "forget.jsonl", "--objective", "GA", "--json"]
    assert run(monkeypatch, "loss", *given, "train.text_prompt=20") == 0
    measured = json.loads(capsys.readouterr().out)["total"]
    views = EncodedViews(tokenizer, Sources([opened(row, 20) for row in PASSAGES]))
    logps = []
    for i in range(2):
        row = views.encode("forget", (i,))
        logits = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        logps += [logits[t - 1, row.ids[t]].item() for t in range(row.start, len(row.ids))]
    assert measured == pytest.approx(sum(logps) / len(logps), rel=1e-4)
