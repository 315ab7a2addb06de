"""How well RESET's levels say what a model that never saw some authors makes of their rows.

    python benchmarks/removal_levels.py --data TOFU-FOLDER --out FOLDER

FOLDER is that of `benchmarks/removal.py --first 60`, with its first retrained model. The authors of `others_perturbed`
before and after those it was trained on are new to it: five drawn at random stand for the holdout set, two for the
forget set. Their levels, by several kinds of hardness, have an area under the ROC curve against the holdout rows, and
the rows as they are have one: the two should be the same.
"""

import argparse
import random
from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from expunge.data import encode_all, load_rows
from expunge.models import Request, load_model, token_values
from expunge.objectives import log_probability
from expunge.objectives.reset import unseen_levels

ROWS, UNSEEN = 20, [*range(14), *range(80, 102)]  # those beside were used to tune the method before, or are trained on
HOLDOUT, FORGET, DRAWS = 5, 2, 200
AT_ONCE = 50


class Ngrams:
    """As `expunge.training.bigrams`, of any length."""

    def __init__(self, rows, length, vocabulary):
        self.length, self.vocabulary = length, vocabulary
        self.counts, self.totals, self.kinds = Counter(), Counter(), Counter()
        for row in rows:
            for place in range(row.start, len(row.ids)):
                self.counts.update(self.grams(row, place))
        for (*before, _), count in self.counts.items():
            self.totals[tuple(before)] += count
            self.kinds[tuple(before)] += 1

    def grams(self, row, place):
        return [row.ids[place - before : place + 1] for before in range(min(self.length, place + 1))]

    def mean_nll(self, row):
        found = []
        for place in range(row.start, len(row.ids)):
            p = 1 / self.vocabulary
            for gram in self.grams(row, place):
                kinds, total = self.kinds[gram[:-1]], self.totals[gram[:-1]]
                p = (self.counts[gram] + kinds * p) / (total + kinds) if kinds else p
            found.append(-log(p))
        return sum(found) / len(found)


@torch.no_grad()
def mean_nll(model, rows):
    """Nats a token [rows]."""
    values = []
    for at in range(0, len(rows), AT_ONCE):
        some = rows[at : at + AT_ONCE]
        logp = token_values(model, [Request(some, [log_probability])])[0][0]
        values += [-float(piece.mean()) for piece in logp.split([row.completion_tokens for row in some])]
    return values


def area(forget, holdout):
    return roc_auc_score([1] * len(forget) + [0] * len(holdout), -np.concatenate([forget, holdout]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="TOFU")
    parser.add_argument("--out", type=Path, required=True, help="of benchmarks/removal.py")
    asked = parser.parse_args()
    model, words = load_model(asked.out / "retain 1")
    everybody = load_rows(f"{asked.data}:others_perturbed")

    def encoded(rows):
        return encode_all(words, [(row, None) for row in rows])

    retain = encoded(load_rows(f"{asked.out / 'data'}:retain90"))
    authors = [encoded(everybody[author * ROWS :][:ROWS]) for author in UNSEEN]
    nll = torch.tensor([mean_nll(model, rows) for rows in authors])
    counted = {f"{n}-grams": Ngrams(retain, n, len(words)).mean_nll for n in (1, 2, 3)}
    kinds = {"rank alone": lambda row: 0.0, "tokens": lambda row: log(row.completion_tokens), **counted}
    for kind, hardness_of in kinds.items():
        hardness = torch.tensor([[hardness_of(row) for row in rows] for rows in authors])
        draw, off = random.Random(0), []
        for _ in range(DRAWS):
            drawn = draw.sample(range(len(authors)), HOLDOUT + FORGET)
            holdout, forget = drawn[:HOLDOUT], drawn[HOLDOUT:]
            values = [each[those].flatten() for each in (nll, hardness) for those in (forget, holdout)]
            levels = unseen_levels(*values)
            off.append(area(levels, values[1]) - area(values[0], values[1]))
        off = np.abs(off)
        print(f"{kind}: root mean square {np.sqrt(np.mean(off**2)):.3f}, more than .1: {np.mean(off > 0.1):.0%}")


if __name__ == "__main__":
    main()
