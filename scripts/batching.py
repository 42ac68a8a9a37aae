"""What the company of a sentence in its batch costs, for docs/results/batching.md: language models, trained each way.

    python scripts/batching.py DIR --runs runs/batching

DIR holds train and valid of a corpus. Runs that are finished are not trained again. CPU time is what else the machine
did too: for the page's, leave it alone.
"""

from pathlib import Path
from typing import Annotated, get_args

import torch
import tyro

from pyro_textvae import Run
from pyro_textvae.batch import Batches, Batching
from pyro_textvae.corpus import EOS
from pyro_textvae.shown import Spread, markdown
from pyro_textvae.tables.engine import trained

PAGE = Path(__file__).parents[1] / "docs" / "results" / "batching.md"
SEEDS = (0, 1, 2)
MODEL = "lstm_lm"
OPTIONS = dict(
    max_vocabulary=5000,
    max_length=38,
    batch_size=30,
    embedding=64,
    hidden=128,
    tied=True,
    dropout=0.3,
    epochs=1,
    learning_rate=0.003,
    precision="bfloat16",
)
BATCHINGS: list[Batching] = [each for each in get_args(Batching) if each != "sorted"]
HEAD = """# Who shares a batch

One epoch of a language model of DailyDialog, each way of making batches (`train(batching=...)`), ± over seeds {seeds},
by `python scripts/batching.py DIR`: `{model}`, {options}, gradients clipped at 5, as by default.

- *NLL*: exact, nats a sentence of the validation split.
- *`</s>`*: how often the model expects a sentence of that split to end, summed over its positions. A model that is
  right about lengths says 1; one that says more ends what it samples too early, less too late.
- *Dearer*: CPU time of training over that of `bucketed`."""


def main(data: Annotated[Path, tyro.conf.Positional], runs: Path = Path("runs/batching"), output: Path = PAGE) -> None:
    """Train, measure and write the page.

    Args:
        data: the folder of the corpus
        runs: where the runs lie
        output: the page
    """
    found = {
        batching: [
            trained(MODEL, data, runs / f"{batching}-{seed}", seed=seed, batching=batching, **OPTIONS) for seed in SEEDS
        ]
        for batching in BATCHINGS
    }
    seconds = {batching: [run.history[-1]["cpu_seconds"] for run in each] for batching, each in found.items()}
    body = []
    for batching, each in found.items():
        numbers = (
            f"{Spread.of([run.history[-1]['valid_nll_elbo_nats_per_sentence'] for run in each]):.2f}",
            f"{Spread.of([expected_ends(run) for run in each]):.2f}",
            f"{sum(seconds[batching]) / sum(seconds['bucketed']):.2f}",
        )
        body.append([batching, *numbers])
    options = ", ".join(f"{name}={value}" for name, value in OPTIONS.items())
    head = HEAD.format(seeds=", ".join(map(str, SEEDS)), model=MODEL, options=options)
    page = "\n".join([head, "", *markdown(["batches", "NLL", "`</s>`", "dearer"], body), ""])
    output.write_text(page, encoding="utf-8")
    print(page)


@torch.no_grad()
def expected_ends(run: Run) -> float:
    """Mean over the validation sentences of the sum over positions t of p(</s> | words before t)."""
    vae, split = run.vae.eval(), run.corpus.split("valid")
    decoder, ends = vae.decoder, 0.0
    for batch in Batches(split, 64, batching="sorted"):
        code = vae.prior.sample(len(batch))
        states, _ = decoder.states(batch.inputs, code, decoder.start(code))
        logits = decoder.logits(states.flatten(0, 1).index_select(0, batch.real)).float()
        ends += logits.softmax(-1)[:, EOS].sum().item()
    return ends / len(split)


if __name__ == "__main__":
    tyro.cli(main)
