"""A language model as a measure of text: trained on one text, it says how well that text prepares for another.

It is the recipe `lstm_lm`, made and trained alike whatever it is trained on, so that what it says compares. A
perplexity here means nothing without the budget that it was trained with.
"""

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from tqdm import tqdm

from pyro_textvae.batch import Batches
from pyro_textvae.corpus import Split
from pyro_textvae.evaluation.codes import evaluating
from pyro_textvae.evaluation.likelihood import importance_weighted_nll
from pyro_textvae.optim import PRECISIONS
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import TextVAE


@dataclass(frozen=True)
class LanguageModelBudget:
    """How large a measuring language model is, and how long it is trained.

    embedding, hidden, layers, dropout   as in `Size`
    epochs         passes over the text; the weights of the one with the least NLL on held-out text are kept
    batch_size     sentences, drawn at random
    learning_rate  of AdamW, falling linearly to 0
    clip           largest global gradient norm
    precision      of training, "float32" or "bfloat16", as in `Training`; what is measured is in float32
    """

    embedding: int = 128
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.3
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 3e-3
    clip: float = 5.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        self.size(vocabulary=1)
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"'{name}' is {value!r}, but a whole number of at least 1 is needed")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"'{name}' is {value!r}, but it must be positive and finite")
        if self.precision not in PRECISIONS:
            raise ValueError(f"'precision' is {self.precision!r}; it is one of {', '.join(PRECISIONS)}")

    def size(self, vocabulary: int) -> Size:
        return Size(vocabulary, embedding=self.embedding, hidden=self.hidden, layers=self.layers, dropout=self.dropout)


def fit(
    text: Split,
    held_out: Split,
    vocabulary: int,
    budget: LanguageModelBudget,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    name: str = "",
) -> tuple[TextVAE, int]:
    """A language model trained on a text, and after how many epochs its NLL on `held_out` was least.

    To be called inside `evaluating`, which puts the caller's random numbers back: `seed` is set anew. `name` stands at
    the progress bar. Raises ValueError where training leaves no number.
    """
    torch.manual_seed(seed)
    model = recipes()["lstm_lm"](budget.size(vocabulary)).vae.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget.learning_rate, fused=True)
    steps = budget.epochs * len(Batches(text, budget.batch_size))
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    best, least, weights, low = 0, math.inf, {}, budget.precision == "bfloat16"
    with tqdm(total=steps, desc=name, unit="batch", leave=False, disable=None) as bar:
        for epoch in range(budget.epochs):
            model.train()
            with torch.enable_grad():
                # Not bucketed, which would bias how long it expects a sentence to be.
                for batch in Batches(text, budget.batch_size, seed=seed, epoch=epoch, batching="random"):
                    batch = batch.to(device)
                    with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=low):
                        loss = -model.decoder.log_prob(model.prior.sample(len(batch)), batch).mean()
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), budget.clip)
                    optimizer.step()
                    rate.step()
                    bar.update()
            cost = nats_per_token(model, held_out)
            if cost < least:
                best, least, weights = epoch + 1, cost, copy.deepcopy(model.state_dict())
    if not best:
        raise ValueError(
            f"the language model that measures the text stopped being numbers: lower the budget's learning_rate "
            f"({budget.learning_rate:g}) or its clip ({budget.clip:g})"
        )
    model.load_state_dict(weights)
    return model.eval(), best


def nats_per_token(model: TextVAE, text: Split) -> float:
    """NLL of a text under a language model over its predicted tokens, </s> counted, each sentence by itself: exact."""
    with evaluating(model, seed=0):
        cost = importance_weighted_nll(model, text, samples=1)
    return cost.sum().item() / (int(text.lengths.sum()) + len(text))
