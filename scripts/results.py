"""Train the rows of docs/results.md, measure them and write the table: every number there comes from here.

    python scripts/results.py train ROW --data DIR       one row, resumed if it was stopped
    python scripts/results.py measure ROW --data DIR     importance-weighted bound on test, figures
    python scripts/results.py write                      docs/results.md and its pictures from every measured row

DIR holds ptb/ (train, valid and test .txt.gz) and dailydialog/ (the JSON lines; converted by scripts/dailydialog.py).
Runs lie in runs/results/ROW. One size for all rows of a corpus; settings are in ROWS below.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import pyro_textvae

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
        script = Path(__file__).with_name("dailydialog.py")
        subprocess.run([sys.executable, str(script), str(data / corpus), str(converted)], check=True)
    return converted


def train(row: str, data: Path, seed: int) -> None:
    recipe, corpus, options = ROWS[row]
    output = RUNS / row
    pyro_textvae.train(
        recipe,
        corpus_folder(corpus, data),
        output=output,
        resume=(output / "recipe.json").exists(),
        seed=seed,
        finish=False,
        **options,
    )


@dataclass
class Arguments:
    action: Annotated[Literal["train", "measure", "write"], tyro.conf.Positional]
    row: Annotated[str, tyro.conf.Positional] = ""
    data: Path = Path("../shared/data")
    seed: int = 0


def main(arguments: Arguments) -> None:
    if arguments.action != "write" and arguments.row not in ROWS:
        sys.exit(f"unknown row {arguments.row!r}; the rows are {', '.join(ROWS)}")
    if arguments.action == "train":
        train(arguments.row, arguments.data, arguments.seed)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
