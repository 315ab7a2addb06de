"""An objective: weighted terms, from a name such as "NPO+GD" and options such as beta=0.1."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from expunge.errors import InputError, unknown
from expunge.limits import Finite
from expunge.objectives.base import Term, View, Views


@dataclass(frozen=True)
class Weighted:
    """A term and its weight in the total."""

    name: str
    term: Term
    weight: float = 1.0

    @property
    def set(self) -> str:
        """The rows it is about: "forget" or "retain"."""
        return "forget" if any(view.startswith("forget") for view in self.term.needs.views) else "retain"


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms."""

    name: str
    terms: tuple[Weighted, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """All views its terms look at."""
        return tuple(dict.fromkeys(view for part in self.terms for view in part.term.needs.views))

    @property
    def mismatches(self) -> int:
        """How many other rows' completions each forget row is answered with."""
        needs = [part.term.needs for part in self.terms]
        return max((need.mismatches for need in needs if "forget_mismatch" in need.views), default=0)

    @property
    def forget_every(self) -> int | None:
        """Which steps have forget rows, where an epoch is a pass over the retain set; None: one over the forget set."""
        return next((part.term.forget_every for part in self.terms if part.term.forget_every), None)

    @property
    def rests_at_first(self) -> bool:
        """Whether of several passes over the retain set the first one has no forget rows."""
        return any(part.term.rests_at_first for part in self.terms)

    @property
    def weights(self) -> dict[str, float]:
        """Each term's weight by its name, at the start of training."""
        return {part.name: part.weight for part in self.terms}

    @property
    def adaptive(self) -> bool:
        """Whether any term chooses weights anew after each optimiser step."""
        return any(type(part.term).next_weight is not Term.next_weight for part in self.terms)

    def only(self, side: str) -> "Objective":
        """Its terms about one side: "forget" or "retain"."""
        return replace(self, terms=tuple(part for part in self.terms if part.set == side))

    def uses(self, reference: str) -> bool:
        """Whether any term needs this of the reference model: "nll", "logits" or "hidden"."""
        return any(part.term.needs.reference == reference for part in self.terms)

    @property
    def uses_reference(self) -> bool:
        """Whether any term needs the reference model."""
        return any(part.term.needs.reference for part in self.terms)

    def loss(
        self, views: Mapping[str, Views], weights: Mapping[str, float] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and each term's value.

        Args:
            views: Each term's views by the term's name.
            weights: Each term's weight now, where they change in training; default: those at the start.
        """
        weights = weights or self.weights
        values = {part.name: part.term.loss(views[part.name]) for part in self.terms}
        total = reduce(add, (weights[name] * value for name, value in values.items()))
        for part in self.terms:
            if part.term.bound is not None:
                # Whether or not the bounded term is evaluated here with it.
                forget = {other.name for other in self.terms if other.set == "forget"}
                held = sum(weight for name, weight in weights.items() if name not in forget)
                total = total - held * part.term.bound * _share(views[part.name], part.term)
        return total, {name: value.detach() for name, value in values.items()}

    def next_weights(self, weights: Mapping[str, float], values: Mapping[str, float], epoch: int) -> dict[str, float]:
        """The weights for the next step, given those of this one, each term's value over its whole batch, its epoch."""
        chosen = dict(weights)
        for forget in (part.term for part in self.terms if part.set == "forget"):
            for name in (part.name for part in self.terms if part.set == "retain"):
                chosen[name] = forget.next_weight(chosen[name], values[name], epoch)
        return chosen


def _share(views: Views, term: Term) -> Tensor:
    """This part's share of the batch's rows: what it adds to a constant."""
    view: View = getattr(views, term.needs.views[0])
    return view.row_mean(torch.ones_like(view.lengths, dtype=torch.float32))


def build(
    spec: "str | Term | Objective",
    options: Mapping[str, Any] | None = None,
    *,
    terms: Mapping[str, type[Term]],
    composites: Mapping[str, tuple[tuple[str, float], ...]],
    custom: Mapping[str, Term] | None = None,
) -> Objective:
    """Make an objective from its name, e.g. "NPO+GD" or "LLMU", and its options.

    Args:
        spec: Names joined by "+", in any case; or a term; or a whole objective.
        options: `forget_weight` and `retain_weight` (default 1); a hyper-parameter by name (for every term that has
            it) or as `TERM.name` (for one term); `TERM.weight` for one term's weight.
        terms: Known terms by name.
        composites: Named objectives: terms with weights.
        custom: Custom terms by name.

    Raises:
        InputError: An unknown name, an option no term has or that cannot be used, or no forget term.
    """
    if isinstance(spec, str):
        parts = _parse(spec, terms, composites, custom or {})
    else:
        parts = list(spec.terms) if isinstance(spec, Objective) else [Weighted(type(spec).__name__, spec)]
    if not any(part.set == "forget" for part in parts):
        raise InputError(f"Objective {spec!r} has no forget term, so nothing would be forgotten. Try 'NPO+GD'.")
    if not any(part.set == "retain" for part in parts):
        parts += [Weighted(name, terms[name]()) for part in parts if (name := part.term.regulariser)]
    for key, value in (options or {}).items():
        parts = _apply(parts, key, value)
    parts = [_checked(part) for part in parts]
    _require(parts)
    name = spec if isinstance(spec, str) else spec.name if isinstance(spec, Objective) else parts[0].name
    return Objective(name, tuple(parts))


def _parse(
    spec: str,
    terms: Mapping[str, type[Term]],
    composites: Mapping[str, tuple[tuple[str, float], ...]],
    custom: Mapping[str, Term],
) -> list[Weighted]:
    known = {name.lower(): name for name in (*terms, *composites)}
    parts: list[Weighted] = []
    for word in (word.strip() for word in spec.split("+")):
        if word in custom:
            parts.append(Weighted(type(custom[word]).__name__, custom[word]))
            continue
        if word.lower() not in known:
            raise unknown("objective", word, known.values())
        name = known[word.lower()]
        parts += [Weighted(member, terms[member](), weight) for member, weight in composites.get(name, ((name, 1.0),))]
    names = [part.name for part in parts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"Objective {spec!r} names {twice} twice.")
    return parts


def _apply(parts: list[Weighted], key: str, value: Any) -> list[Weighted]:
    if key in ("forget_weight", "retain_weight"):
        side, factor = key.removesuffix("_weight"), _convert(key, value, Finite)
        return [replace(part, weight=part.weight * factor) if part.set == side else part for part in parts]
    owner, _, name = key.rpartition(".")
    chosen = [part for part in parts if not owner or part.name.lower() == owner.lower()]
    if owner and not chosen:
        raise unknown("term in objective options", owner, (part.name for part in parts))
    if owner and name == "weight":
        return [replace(p, weight=_convert(key, value, Finite)) if p in chosen else p for p in parts]
    holders = [part for part in chosen if name in {field.name for field in fields(part.term)}]
    if not holders:
        options = {f.name for part in chosen for f in fields(part.term)} | {"forget_weight", "retain_weight"}
        raise unknown("objective option", name, options)
    return [replace(p, term=replace(p.term, **{name: value})) if p in holders else p for p in parts]


def _checked(part: Weighted) -> Weighted:
    """The part with every hyper-parameter converted to the type, and held to the limits, of its annotation."""
    kinds = get_type_hints(type(part.term), include_extras=True)
    values = {field.name: getattr(part.term, field.name) for field in fields(part.term)}
    converted = {name: _convert(f"{part.name}.{name}", value, kinds[name]) for name, value in values.items()}
    return replace(part, term=replace(part.term, **converted), weight=_convert("weight", part.weight, Finite))


def _require(parts: list[Weighted]) -> None:
    """Refuse terms whose required hyper-parameters are missing, or that bound more than one other term."""
    for part in parts:
        for name in part.term.required:
            if getattr(part.term, name) is None:
                raise InputError(
                    f"{part.name} needs objective.{name}, which has no default: it depends on the model "
                    "(see `expunge methods`)."
                )
        if part.term.bound is not None and sum(other.set == "retain" for other in parts) != 1:
            raise InputError(f"{part.name} bounds one regularisation term; the objective has another number of them.")


def _convert(name: str, value: Any, annotation: Any) -> Any:
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise InputError(f"objective.{name}: {value!r} cannot be used: {error.errors()[0]['msg'].lower()}.") from error
