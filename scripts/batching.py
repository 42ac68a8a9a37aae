"""What the company of a sentence in its batch costs, for docs/results/batching.md: two models, trained each way.

    python scripts/batching.py DIR --runs runs/batching

DIR holds train and valid of a corpus. Runs that are finished are not trained again. CPU time is what else the machine
did too: for the page's, leave it alone.
"""

from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import tyro

from pyro_textvae import Run
from pyro_textvae.batch import Batches, Shuffled
from pyro_textvae.corpus import EOS
from pyro_textvae.shown import Spread, markdown
from pyro_textvae.tables.engine import trained

PAGE = Path(__file__).parents[1] / "docs" / "results" / "batching.md"
SEEDS = (0, 1, 2)
MODELS: dict[str, dict[str, Any]] = {
    "lstm_lm": {},
    "vmf_nvrnn": {"word_dropout": 1.0, "latent": 50, "concentration": 80.0},  # inputless: all it writes is in z
}
OPTIONS: dict[str, Any] = dict(
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
BATCHINGS: tuple[Shuffled, ...] = get_args(Shuffled)
HEAD = """# Who shares a batch

One epoch of DailyDialog, each way of making batches (`train(batching=...)`), ± over seeds {seeds}, by `python
scripts/batching.py DIR`. `vmf_nvrnn` is inputless ({inputless}): its decoder sees z alone. Of both: {options};
gradients clipped at 5, as by default.

What `batching` may be:

- `paired`, the default: half of a batch are short and half are long sentences, the shortest with the longest
- `bucketed`: sentences of like length share a batch, so that next to nothing is padded
- `exact`: all sentences of a batch have one length
- `random`: sentences drawn at random

What stands in the table:

- *NLL*: nats a sentence of the validation split; the language model's is exact, the other's the ELBO at one draw.
- *`</s>`*: how often the language model expects a sentence of that split to end, summed over its positions. One that
  is right about lengths says 1; one that says more ends what it samples too early, less too late.
- *Dearer*: CPU time of training over that of `bucketed`, other work beside it on the page's machine.

Like lengths and exact ones cost the language model half a nat and more in the mean of seeds, and leave it to expect
ends a fifth too often, presumably since the last updates, each of one length, say how long a sentence is. Pairs cost a
little more time than like lengths and a fifth to a third less than sentences at random, which are better still. In the
NLL of the inputless model, whose seeds differ by nats, none of this is seen.
"""


def main(data: Annotated[Path, tyro.conf.Positional], runs: Path = Path("runs/batching"), output: Path = PAGE) -> None:
    """Train, measure and write the page.

    Args:
        data: the folder of the corpus
        runs: where the runs lie
        output: the page
    """
    rows = [row for model in MODELS for row in _rows_of(model, data, runs)]
    text = {name: ", ".join(f"{key}={value}" for key, value in each.items()) for name, each in MODELS.items()}
    head = HEAD.format(
        seeds=", ".join(map(str, SEEDS)),
        inputless=text["vmf_nvrnn"],
        options=", ".join(f"{name}={value}" for name, value in OPTIONS.items()),
    )
    page = "\n".join([head, *markdown(["model", "batches", "NLL", "`</s>`", "dearer"], rows), ""])
    output.write_text(page, encoding="utf-8")
    print(page)


def _rows_of(model: str, data: Path, runs: Path) -> list[list[str]]:
    options = OPTIONS | MODELS[model]
    found = {
        batching: [
            trained(model, data, runs / f"{model}-{batching}-{seed}", seed=seed, batching=batching, **options)
            for seed in SEEDS
        ]
        for batching in BATCHINGS
    }
    seconds = {batching: sum(run.history[-1]["cpu_seconds"] for run in each) for batching, each in found.items()}
    rows = []
    for batching, each in found.items():
        bound = Spread.of([run.history[-1]["valid_nll_elbo_nats_per_sentence"] for run in each])
        ends = f"{Spread.of([expected_ends(run) for run in each]):.2f}" if model == "lstm_lm" else "-"
        rows.append([f"`{model}`", batching, f"{bound:.2f}", ends, f"{seconds[batching] / seconds['bucketed']:.2f}"])
    return rows


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
