"""Protocols: how a paper trained its models, as options of train(). What a user gives beside them wins."""

import math
from collections.abc import Callable
from typing import Any

from pyro_textvae.corpus import Corpus
from pyro_textvae.errors import did_you_mean
from pyro_textvae.recipes import recipes


def zhu2020(model: str, corpus: Corpus) -> dict[str, Any]:
    """Equal-length batches, SGD at 1.0 halved by its rule, KL annealing by minibatch over ten epochs, U(-0.01, 0.01).

    As released: LSTMs, z of 32 numbers at every step and in the initial state, dropout 0.5 on the decoder's word
    embeddings and outputs, joint clipping at 5, at most 100 epochs; `embedding` and `hidden` are the data set's: 512
    and 1024 (Yahoo, Yelp), 256 and 256 (PTB), 128 and 512 (SNLI, short Yelp). What differs here: batches are drawn
    anew each epoch, where theirs keep their sentences; the linear layers have biases; gamma needs no particular
    initialisation, since there is no epsilon for the KL to hide in.
    """
    options: dict[str, Any] = dict(
        cell="lstm",
        latent=32,
        dropout=0.5,
        initialisation="he2019",
        exact_length=True,
        batch_size=32,
        optimizer="sgd",
        learning_rate=1.0,
        clip=5.0,
        decay="zhu2020",
        epochs=100,
    )
    return options | _ten_epochs(model, corpus, options["batch_size"])


def kim2018(model: str, corpus: Corpus) -> dict[str, Any]:
    """The semi-amortised paper's: SGD at 1.0 for 30 epochs, KL annealing over ten of them, U(-0.1, 0.1).

    `embedding` and `hidden` are the data set's: 512 and 1024 for Yahoo. Its weight of the KL rises from 0.1, ours from
    0. `sa_vae` takes the paper's network with it.
    """
    options: dict[str, Any] = dict(
        cell="lstm",
        latent=32,
        dropout=0.5,
        initialisation="kim2018",
        batch_size=32,
        optimizer="sgd",
        learning_rate=1.0,
        clip=5.0,
        decay="kim2018",
        epochs=30,
    )
    if "network" in recipes().options(model):
        options["network"] = "kim2018"
    return options | _ten_epochs(model, corpus, options["batch_size"])


def _ten_epochs(model: str, corpus: Corpus, batch_size: int) -> dict[str, Any]:
    """A warm-up of ten epochs, for a recipe that has one."""
    if "warm_up" not in recipes().options(model):
        return {}
    return {"warm_up": math.ceil(10 * len(corpus.splits["train"]) / batch_size)}


PROTOCOLS: dict[str, Callable[[str, Corpus], dict[str, Any]]] = {"zhu2020": zhu2020, "kim2018": kim2018}


def protocol(name: str) -> Callable[[str, Corpus], dict[str, Any]]:
    """The protocol of that name; raises ValueError for an unknown one."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)}; there is: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
