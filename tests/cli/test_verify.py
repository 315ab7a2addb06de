"""`expunge verify`: what is given on the command line arrives, and what is found is printed."""

from expunge import forget as judging
from expunge.forget.judge import RowVerdict, Verdict


def test_what_is_given_arrives_and_what_is_found_is_printed(expunge, model_folder, data, tmp_path, monkeypatch):
    asked = []

    def verify(*given, **options):
        asked.append((given, options))
        rows = [RowVerdict(0, True, "still_known"), RowVerdict(1, True, "weaker"), RowVerdict(2, True, "still_known")]
        return Verdict("not_forgotten", 0.25, rows, ["most of it is there", "its template differs"])

    monkeypatch.setattr(judging, "verify", verify)
    forget, retain = data / "forget.jsonl", data / "retain.jsonl"
    words = ("--forget", forget, "--retain", retain, "--seed", 3, "--system", "Be brief.", "--device", "cpu", "--quiet")
    said = expunge("verify", "--model", "a", "--target", model_folder, *words, "--out", tmp_path / "verdict").out
    [((model, target, rows, kept, never), options)] = asked
    assert (model, target, len(rows), len(kept), never) == ("a", str(model_folder), 5, 7, [])
    assert options.pop("style").system == "Be brief."
    assert options == {"seed": 3, "device": "cpu", "out": tmp_path / "verdict", "progress": False}
    assert said.splitlines() == [
        "Verdict: not forgotten",
        "  most of it is there",
        "  its template differs",
        "Rows: 2 still known, 1 weaker",
        f"Written: {tmp_path / 'verdict' / 'verdict.json'}",
    ]
