"""What dispersion and mutual information each do (Shi et al. 2020), on a small embedded corpus, over five seeds.

    python tests/paper/shi2020_toy.py runs/shi2020-toy

trains the runs of every row, seven seconds each on a quiet core, and prints the table of docs/results/shi2020-toy.md.
Stopped, it goes on where it was: runs that are finished in the directory are read.

The corpus is the grammar of "toy-modes" with three factors in place of five, which is learnt in seconds and has its
property: z has to carry the factors from their first mention to their second, and no factor dominates. Runs of one seed
have the corpus and the first weights in common, so that what an option does can be asked seed by seed.
"""

import random
import statistics
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pyro_textvae.evaluation import CollapseWarning
from pyro_textvae.evaluation.clusters import agreement, joint
from pyro_textvae.evaluation.codes import Codes, evaluating
from pyro_textvae.run import Run
from pyro_textvae.toy.variants import Modes
from pyro_textvae.training import train

SEEDS, FEWER = range(5), range(3)

GRAMMAR = Modes(sentences=2000, factors=3, values=6).grammar()
SIZE: dict[str, Any] = {
    "epochs": 14, "batch_size": 64, "embedding": 32, "hidden": 32, "latent": 8, "learning_rate": 0.01,
    "components": 10, "warm_up": 150,
}  # fmt: skip
"""Of 350 updates, 150 warm the KL up."""

DRAWS = 5


@cache
def corpus(seed: int) -> tuple[list[str], dict[str, list[str]]]:
    """Sentences and the factors that were planted in each."""
    state = random.Random(f"shi2020-toy {seed}")
    drawn = [GRAMMAR.sample(state) for _ in range(2000)]
    return [text for text, _ in drawn], {column: [labels[column] for _, labels in drawn] for column in GRAMMAR.columns}


@dataclass(frozen=True)
class Row:
    """A recipe with so much of both terms."""

    recipe: str
    options: dict[str, Any]
    seeds: range = SEEDS

    def train(self, folder: Path, seed: int) -> Run:
        said = [self.recipe, *(f"{name}-{value}" for name, value in self.options.items()), f"seed-{seed}"]
        run = train(
            self.recipe, corpus(seed), output=folder / "-".join(said), seed=seed, device="cpu", resume=True,
            progress=False, finish=False, **SIZE | self.options,
        )  # fmt: skip
        if "valid" not in run.metrics:
            run.evaluate("valid")
        return run


ROWS: dict[str, Row] = {
    "neither": Row("gm_vae", {}),
    "information": Row("gm_vae", {"mutual_information": 1.0}),
    "dispersion": Row("dgm_vae", {"dispersion": 0.8}),
    "both": Row("dem_vae", {"dispersion": 0.8, "mutual_information": 1.0}),
    "dispersion, beta 0.4": Row("dgm_vae", {"dispersion": 0.4}),
    "dispersion, beta 1": Row("dgm_vae", {"dispersion": 1.0}),
    "spheres, beta 2": Row("dvmf_mixture_vae", {"dispersion": 2.0}, FEWER),
}

Measured = dict[str, float | str]


def measure(run: Run) -> Measured:
    """The metrics of the validation split, the verdict, and how homogeneous codes are that are drawn from q(c|x).

    The likeliest component reads the last trace of what q(c|x) prefers, be that a thousandth more probable than the
    others; a draw says what the model says. Both are of the label column that the draws agree with most.
    """
    found: Measured = dict(run.metrics["valid"])
    split = run.corpus.splits["valid"]
    with evaluating(run.vae, 0):
        codes = Codes.read(run.vae, split)
        assert codes.assignment is not None
        flat = codes.assignment.flatten(0, 1)
        drawn = [torch.multinomial(flat, 1).view(codes.assignment.shape[:2]).numpy() for _ in range(DRAWS)]
    best = -1.0
    for column, labels in split.labels.items():
        of_draws = [agreement(labels[codes.index.numpy()], joint(each)) for each in drawn]
        homogeneity, chance = (statistics.fmean(each[i] for each in of_draws if each) for i in (0, 1))
        if homogeneity - chance > best:
            best = homogeneity - chance
            found |= {"drawn": homogeneity, "drawn_chance": chance}
            found |= {"homogeneity": run.metrics["valid"][f"homogeneity_{column}"]}
            found |= {"chance": run.metrics["valid"][f"homogeneity_{column}_chance"]}
    return found | {"verdict": run.verdict.state}


def measured(folder: Path) -> Iterator[tuple[str, int, Run]]:
    """Row, seed and run, one after the other."""
    for seed in SEEDS:
        for name, row in ROWS.items():
            if seed in row.seeds:
                yield name, seed, row.train(folder, seed)


COLUMNS: dict[str, tuple[str, int]] = {
    "KL of z": ("kl_z_nats_per_sentence", 2),
    "I(x;z)": ("mutual_information_aggregate_nats", 2),
    "wrong z costs": ("shuffled_z_gap_nats_per_sentence", 1),
    "I(c;x)": ("information_c_nats", 2),
    "components apart": ("component_pairwise_kl_nats", 2),
    "L_d": ("dispersion_nats_per_sentence", 2),
    "homogeneity": ("homogeneity", 2),
    "by chance": ("chance", 2),
    "of draws": ("drawn", 3),
    "of draws, by chance": ("drawn_chance", 3),
    "NLL (ELBO)": ("nll_elbo_nats_per_sentence", 2),
}


def table(found: dict[str, dict[int, Measured]]) -> str:
    """Markdown: mean and standard deviation over the seeds of each row, and what the verdicts were."""
    lines = ["| row | seeds | " + " | ".join(COLUMNS) + " | verdicts |", "|---" * (len(COLUMNS) + 3) + "|"]
    for name, runs in found.items():
        cells = []
        for key, digits in COLUMNS.values():
            values = [float(run[key]) for run in runs.values()]
            cells.append(f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}")
        verdicts = [str(run["verdict"]) for run in runs.values()]
        counted = ", ".join(f"{verdicts.count(each)} {each}" for each in dict.fromkeys(verdicts))
        lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} | {counted} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore", CollapseWarning)
    torch.set_num_threads(1)
    found: dict[str, dict[int, Measured]] = {name: {} for name in ROWS}
    for name, seed, run in measured(folder):
        found[name][seed] = measure(run)
        print(f"seed {seed}, {name}: {found[name][seed]['verdict']}", file=sys.stderr, flush=True)
    print(f"The true entropy is {GRAMMAR.entropy:.2f} nats a sentence.\n\n{table(found)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
