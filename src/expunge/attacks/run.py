"""All attacks on all models, one model in memory at a time, and attack.json with what they found.

What one attack found on one model is kept in `<name>.parts` until all is measured, and taken from there, or from an
earlier attack.json, if everything that it depends on is the same.
"""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.attacks import ATTACKS
from expunge.attacks.base import ROLES, Attack, AttackData, AttackRow, Curve, Findings, NotMeasured, Role, Subject
from expunge.data import PromptStyle
from expunge.errors import InputError, unknown
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.request import ModelLike
from expunge.evaluation.results.fingerprints import code_section, model_section
from expunge.evaluation.results.seal import check_seal, sealed
from expunge.files import write_json
from expunge.models import (
    check_head,
    fingerprint_code,
    fingerprint_json,
    fingerprint_rows,
    fingerprint_tokenizer,
    salted_digest,
)
from expunge.runs import parts_path

SCHEMA = 1
CODE = ("attacks", "objectives")
"""The rooms whose code the numbers depend on, beside those of an evaluation."""


@dataclass(frozen=True)
class AttackResults:
    """What attack.json holds.

    Attributes:
        rows: one for each number.
        not_measured: what did not apply, and why.
        curves: receiver operating characteristics of membership inference.
        models: by role: path and fingerprints.
        about: the sections on rows, settings and code.
        measured: by "attack/model", what the numbers of that pair depend on, as a digest.
    """

    rows: list[AttackRow]
    not_measured: list[NotMeasured]
    curves: list[Curve]
    models: dict[Role, dict[str, str]]
    about: dict[str, Any]
    measured: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The content of attack.json, with its digests."""
        document = {
            "schema": SCHEMA,
            "rows": [row.to_json() for row in self.rows],
            "not_measured": [asdict(one) for one in self.not_measured],
            "curves": [asdict(one) for one in self.curves],
            "models": self.models,
            **self.about,
            "measured": self.measured,
        }
        return sealed(json.loads(json.dumps(document)))


def attack(
    models: Mapping[Role, ModelLike],
    data: AttackData,
    names: Sequence[str] = (),
    *,
    tokenizer: Any = None,
    style: PromptStyle = PromptStyle(),
    seed: int = 0,
    quick: bool = False,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> AttackResults:
    """Attack each model alike.

    Args:
        models: by role, folders or loaded models.
        data: the rows.
        names: of `ATTACKS`; none: all of them.
        tokenizer: of loaded models.
        style: how conversations are written.
        seed: of everything random.
        quick: fewer settings and samples.
        device: default: a GPU if there is one.
        out: the file to write; what an earlier call measured there under the same fingerprints is used again.
        progress: show progress bars on the error stream.

    Raises:
        InputError: an attack, model or row that cannot be used.
    """
    for name in names:
        if name not in ATTACKS:
            raise unknown("attack", name, list(ATTACKS))
    if not data.forget:
        raise InputError("There are no forget rows to attack.")
    if out is not None and Path(out).suffix != ".json":
        raise InputError(f"{out}: the results file must end in .json, e.g. attack.json.")
    chosen = [ATTACKS[name] for name in dict.fromkeys(names or ATTACKS)]
    about = _about(data, chosen, style, seed, quick)
    known = _Known(None if out is None else Path(out))
    found: dict[tuple[str, Role], Findings] = {}
    identities, measured = _identities(models, tokenizer, device), {}
    present: list[Role] = [role for role in ROLES if role in models]
    for role in present:
        subject = Subject(role, models[role], data, tokenizer, style, seed, quick, device, models=models)
        for one in chosen:
            seen = identities if one.compares else {role: identities[role]}
            depends = [{k: v for k, v in identity.items() if k != "path"} for identity in seen.values()]
            measured[f"{one.name}/{role}"] = key = fingerprint_json([one.name, one.settings, role, *depends, about])
            findings = known.find(one.name, role, key)
            if findings is None:
                with bars(f"{role}: {one.name}", progress) as report:
                    subject.progress = report
                    findings = one.run(subject)
                known.keep(one.name, role, key, findings)
            found[one.name, role] = findings
        subject.release()
    ordered = [found[one.name, role] for one in chosen for role in present]
    results = AttackResults(
        [row for findings in ordered for row in findings.rows],
        [one for findings in ordered for one in findings.not_measured],
        [curve for findings in ordered for curve in findings.curves],
        {role: {k: v for k, v in identity.items() if k != "tokenizer"} for role, identity in identities.items()},
        about,
        measured,
    )
    if out is not None:
        write_json(out, results.to_json())
        known.forget_parts()
    return results


def _about(
    data: AttackData, chosen: Sequence[Attack], style: PromptStyle, seed: int, quick: bool
) -> dict[str, dict[str, Any]]:
    """The sections `data`, `recipe` and `code`: what the numbers depend on beside the models."""
    sets = {name: rows for name, rows in vars(data).items() if rows}
    code = code_section()
    return {
        "data": {
            "salt": salted_digest(""),
            "sets": {name: {"rows": len(rows), "fingerprint": fingerprint_rows(rows)} for name, rows in sets.items()},
        },
        "recipe": {"seed": seed, "quick": quick, "prompts": asdict(style)},
        "code": code | {"fingerprint": fingerprint_json([code["fingerprint"], fingerprint_code(*CODE)])},
    }


def _identities(models: Mapping[Role, ModelLike], tokenizer: Any, device: str | None) -> dict[Role, dict[str, str]]:
    """Path and fingerprints of each model; each is loaded and left again."""
    found: dict[Role, dict[str, str]] = {}
    for role, place in models.items():
        subject = Subject(role, place, AttackData(()), tokenizer, device=device)
        model, words = subject.load()
        check_head(model)
        path = str(place) if isinstance(place, str | Path) else str(model.name_or_path)
        found[role] = asdict(model_section(path, model)) | {"tokenizer": fingerprint_tokenizer(words)}
        del model
        subject.release()
    return found


class _Known:
    """What earlier calls measured: in attack.json, or in its parts where they did not come to their end."""

    def __init__(self, out: Path | None) -> None:
        self.folder = None if out is None else parts_path(out)
        self.document: dict[str, Any] = {}
        if out is not None and out.is_file():
            try:
                self.document = json.loads(out.read_text(encoding="utf-8"))
                check_seal(out, self.document)
            except (InputError, ValueError) as error:
                warnings.warn(f"{out}: {error} It is measured anew and replaced.", stacklevel=3)
                self.document = {}

    def find(self, attack: str, role: Role, key: str) -> Findings | None:
        """What an attack found on a model; None where it was not measured, or something differs now."""
        if self.document.get("measured", {}).get(f"{attack}/{role}") == key:
            return _read(self.document, attack, role)
        part = None if self.folder is None else self.folder / f"{attack}.{role}.json"
        if part is not None and part.is_file():
            found = json.loads(part.read_text(encoding="utf-8"))
            if found["key"] == key:
                return _read(found, attack, role)
        return None

    def keep(self, attack: str, role: Role, key: str, findings: Findings) -> None:
        """Keep what was found until all is."""
        if self.folder is not None:
            lists = {name: [asdict(one) for one in each] for name, each in vars(findings).items() if name != "rows"}
            rows = [row.to_json() for row in findings.rows]
            write_json(self.folder / f"{attack}.{role}.json", {"key": key, "rows": rows, **lists})

    def forget_parts(self) -> None:
        """All is in attack.json."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _read(document: Mapping[str, Any], attack: str, role: Role) -> Findings:
    """The findings of one attack on one model, from a file."""

    def of(name: str) -> list[dict[str, Any]]:
        return [one for one in document[name] if (one["attack"], one["model"]) == (attack, role)]

    rows = [AttackRow(**dict[str, Any](row, ci95=row["ci95"] and tuple(row["ci95"]))) for row in of("rows")]
    return Findings(rows, [NotMeasured(**one) for one in of("not_measured")], [Curve(**one) for one in of("curves")])
