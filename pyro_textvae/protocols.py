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
    if "warm_up" in recipes().options(model):
        options["warm_up"] = math.ceil(10 * len(corpus.splits["train"]) / options["batch_size"])
    return options


PROTOCOLS: dict[str, Callable[[str, Corpus], dict[str, Any]]] = {"zhu2020": zhu2020}


def protocol(name: str) -> Callable[[str, Corpus], dict[str, Any]]:
    """The protocol of that name; raises ValueError for an unknown one."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)}; there is: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
