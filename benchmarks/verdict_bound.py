"""How often a verdict says that something is there, where in every setting exactly the margin is left.

    python benchmarks/verdict_bound.py

Rows are known in each of the settings by chance, settings agreeing with each other more or less; the truth lies at the
margin, so that each "there" is false. Beside it: how often one of the settings' own 95 % intervals would say so.
"""

import argparse

import numpy as np
from scipy.stats import norm

from expunge.forget.judge import MARGIN, shares_of

CHANCE, CONTROLS = 0.07, 9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--settings", type=int, default=14)
    parser.add_argument("--draws", type=int, default=400)
    given = parser.parse_args()
    generator, size = np.random.default_rng(0), (given.settings, given.rows)
    print("| correlation of the settings | for all together | each by itself |\n|---|---|---|")
    for correlation in (0.0, 0.5, 0.8, 0.95):
        found = {"at_least": 0, "above_chance": 0}
        for _ in range(given.draws):
            common, own = generator.standard_normal((1, given.rows)), generator.standard_normal(size)
            known = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own < norm.ppf(MARGIN + CHANCE)
            chance = generator.binomial(CONTROLS, CHANCE, size) / CONTROLS
            shares = shares_of({str(i): (known[i].astype(float), chance[i]) for i in range(given.settings)}).values()
            found["at_least"] += max(share["at_least"] for share in shares) > MARGIN
            found["above_chance"] += max(share["above_chance"][0] for share in shares) > MARGIN
        print(
            f"| {correlation} | " + " | ".join(f"{100 * count / given.draws:.1f} %" for count in found.values()) + " |"
        )


if __name__ == "__main__":
    main()
