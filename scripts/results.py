"""Train the rows of docs/results.md, measure them and write the table: every number of it comes from here.

    python scripts/results.py train ROW --data DIR       one row, resumed if it was stopped
    python scripts/results.py measure ROW                valid and test, importance-weighted bound, pictures
    python scripts/results.py write                      docs/results.md and its pictures from every measured row

DIR holds ptb/ (train, valid and test .txt.gz) and dailydialog/ (the JSON lines; converted by scripts/corpora.py).
Runs lie in runs/results/ROW. One size for all rows of a corpus; settings are in ROWS below.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import pyro_textvae
from pyro_textvae.shown import markdown
from pyro_textvae.tables.engine import trained

RUNS = Path("runs/results")
SAMPLES = 20

SHARED: dict[str, Any] = dict(
    embedding=128,
    hidden=256,
    tied=True,
    dropout=0.3,
    precision="bfloat16",
    learning_rate=3e-3,
    decay="linear",
    batching="bucketed",
    epochs=6,
    max_vocabulary=10_004,
)
PTB = SHARED | dict(latent=32)
PTB_MIXTURE = SHARED | dict(warm_up=3000, variables=20, components=5, latent=2)
DIALOG_MIXTURE = SHARED | dict(warm_up=5000, variables=3, components=5, latent=5, max_length=40)

ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ptb-lstm_lm": ("lstm_lm", "ptb", SHARED),
    "ptb-vae": ("vae", "ptb", PTB),
    "ptb-bn_vae": ("bn_vae", "ptb", PTB),
    "ptb-vmf_vae": ("vmf_vae", "ptb", PTB),
    "ptb-gm_vae": ("gm_vae", "ptb", PTB_MIXTURE),
    "ptb-dem_vae": ("dem_vae", "ptb", PTB_MIXTURE),
    "dailydialog-gm_vae": ("gm_vae", "dailydialog", DIALOG_MIXTURE),
    "dailydialog-dem_vae": ("dem_vae", "dailydialog", DIALOG_MIXTURE),
}


def corpus_folder(corpus: str, data: Path) -> Path:
    """Where the corpus lies, converted if it has to be."""
    if corpus != "dailydialog":
        return data / corpus
    converted = Path("runs/data/dailydialog")
    if not converted.exists():
        script = Path(__file__).with_name("corpora.py")
        subprocess.run([sys.executable, str(script), corpus, str(data / corpus), str(converted)], check=True)
    return converted


def train(row: str, data: Path, seed: int) -> None:
    recipe, corpus, options = ROWS[row]
    trained(recipe, corpus_folder(corpus, data), RUNS / row, seed=seed, **options)


def measure(row: str) -> None:
    """The metrics of docs/results.md, with the importance-weighted bound on test, and the run's pictures."""
    run = pyro_textvae.load(RUNS / row)
    run.evaluate("valid")
    run.evaluate("test", samples=SAMPLES)
    run.figures()
    run.report()


COLUMNS = {
    "NLL (ELBO)": "nll_elbo_nats_per_sentence",
    "s.e.": "nll_elbo_standard_error",
    f"NLL (IW, {SAMPLES})": "nll_importance_weighted_nats_per_sentence",
    "PPL (ELBO)": "perplexity_elbo",
    f"PPL (IW, {SAMPLES})": "perplexity_importance_weighted",
    "KL": "kl_nats_per_sentence",
    "MI (aggregate)": "mutual_information_aggregate_nats",
    "MI (in batch)": "mutual_information_in_batch_nats",
    "I(c;x)": "information_c_nats",
    "AU": "active_units",
    "dispersion": "dispersion_nats_per_sentence",
}
LABELS = ("act", "emotion")


def cells(run: pyro_textvae.Run) -> list[str]:
    """One row of the table, on test."""
    test, history = run.metrics["test"], run.history
    shown = [f"{test[name]:.2f}" if name in test else "-" for name in COLUMNS.values()]
    for label in LABELS:
        values = [test.get(f"homogeneity_{label}{end}") for end in ("", "_chance")]
        shown.append(f"{values[0]:.3f} ({values[1]:.3f})" if values[0] is not None and values[1] is not None else "-")
    planned = run.recipe["training"]["epochs"]
    minutes = sum(row["seconds"] for row in history) / 60
    losses = [row["valid_loss"] for row in history]
    gained = f"{losses[-2] - losses[-1]:.2f}" if len(losses) > 1 else "-"
    return [
        *shown,
        run.verdict.state,
        f"{len(history)} of {planned}",
        gained,
        f"{minutes:.0f}",
        str(run.recipe["seed"]),
    ]


def write() -> None:
    """Put every measured row into docs/results.md, between its two marks, and its picture beside it."""
    page = Path("docs/results.md")
    rows = [row for row in ROWS if (RUNS / row / "evaluation.json").exists()]
    head = ["row", *COLUMNS, *(f"homogeneity, {label} (chance)" for label in LABELS), "verdict", "epochs"]
    head += ["last gain of valid loss", "minutes of training", "seed"]
    lines = markdown(head, [[f"`{row}`", *cells(pyro_textvae.load(RUNS / row))] for row in rows])
    for row in rows:
        picture = RUNS / row / "figures" / "latent_space.png"
        if picture.exists():
            target = page.parent / "images" / f"{row}.png"
            target.write_bytes(picture.read_bytes())
            lines += ["", f"![Posterior means of {row} on its validation split](images/{target.name})"]
    begin, end = "<!-- table: scripts/results.py write -->", "<!-- end of table -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}" + rest.split(end)[1])


@dataclass
class Arguments:
    action: Annotated[Literal["train", "measure", "write"], tyro.conf.Positional]
    row: Annotated[str, tyro.conf.Positional] = ""
    data: Path = Path("../shared/data")
    seed: int = 0


def main(arguments: Arguments) -> None:
    if arguments.action == "write":
        write()
    elif arguments.row not in ROWS:
        sys.exit(f"unknown row {arguments.row!r}; the rows are {', '.join(ROWS)}")
    elif arguments.action == "train":
        train(arguments.row, arguments.data, arguments.seed)
    else:
        measure(arguments.row)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
