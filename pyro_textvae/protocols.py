"""Protocols: how a paper trained its models, as options of train(). What a user gives beside them wins."""

import math
from collections.abc import Callable
from typing import Any

from pyro_textvae.corpus import Corpus
from pyro_textvae.errors import did_you_mean
from pyro_textvae.recipes import recipes
from pyro_textvae.size import OF_ORDER


def zhu2020(model: str, corpus: Corpus) -> dict[str, Any]:
    """Equal-length batches, SGD at 1.0 halved by its rule, KL annealing by minibatch, U(-0.01, 0.01).

    As released: LSTMs, z of 32 numbers at every step and in the initial state, dropout 0.5 on the decoder's word
    embeddings and outputs, joint clipping at 5, at most 100 epochs; `embedding` and `hidden` are the data set's: 512
    and 1024 (Yahoo, Yelp), 256 and 256 (PTB), 128 and 512 (SNLI, short Yelp). The KL's weight is full after 10 N / 32
    updates, which is a little under ten epochs, as batches of one length are more. What differs here: batches are drawn
    anew each epoch, where theirs keep their sentences; the linear layers have biases; gamma needs no particular
    initialisation, since there is no epsilon for the KL to hide in.
    """
    options: dict[str, Any] = dict(
        cell="lstm",
        latent=32,
        dropout=0.5,
        initialisation="he2019",
        batching="exact",
        batch_size=32,
        optimizer="sgd",
        learning_rate=1.0,
        clip=5.0,
        decay="zhu2020",
        epochs=100,
    )
    return options | _warm_up(model, corpus, options["batch_size"], 10)


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
    return options | _warm_up(model, corpus, options["batch_size"], 10)


def shi2020(model: str, corpus: Corpus) -> dict[str, Any]:
    """The DEM-VAE paper's: Adam at 0.001 in batches of 30, clipping at 0.5, bidirectional GRUs.

    As released: embedding and both GRUs 512 wide, z in the initial state and at every step, dropout 0.3 on the
    decoder's word embeddings and outputs, KL weight 0.5 after 2,500 updates and 1 after 5,000, the rate times 0.8 by
    its rule. Its corpora have 10,000 words and sentences of at most 38: `max_vocabulary` and `max_length`. What differs
    here: that weight rises linearly, where theirs is a sigmoid (0.002 at the first update); an epoch is a pass over the
    text, where theirs is 2,000 updates; the output layer is tied for every model, theirs not for VAE, AE and the
    language model, which is a GRU there and an LSTM here; training draws one z for each sentence, theirs up to 20.
    """
    options: dict[str, Any] = dict(
        bidirectional=True,
        embedding=512,
        hidden=512,
        tied=True,
        dropout=0.3,
        batch_size=30,
        optimizer="adamw",
        learning_rate=1e-3,
        clip=0.5,
        batching="random",
        decay="shi2020",
        epochs=50,
    )
    return options | ({"warm_up": 5000} if "warm_up" in recipes().options(model) else {})


def xu2018(model: str, corpus: Corpus) -> dict[str, Any]:
    """The NVRNN paper's: SGD at 10, clipped at 0.25, batches of 20, divided by 1.2 at each epoch without a new best.

    Embeddings of 100 numbers, LSTMs of 400, dropout 0.5, at most 100 epochs. A corpus with one label column (Yelp's
    stars) is told the label, where the recipe can be; label=None leaves it out. A KL that is annealed is for 20 epochs.
    What the paper sets for each table is yours to give:

        PTB    standard           latent 50, concentration 35 (or 25 at 25)
               inputless          word_dropout 1, latent 50, concentration 80
               with bag of words  bag_of_words, latent 50, concentration 5; inputless 50
        Yelp   standard           latent 100, concentration 40; max_length 50, max_vocabulary 15,000
               inputless          word_dropout 1, latent 100, concentration 200
        Gaussian, Table 1         latent 50, layers or encoder_layers 3 or 1, shape "sigmoid" or warm_up 0

    What differs here from what is released: the estimator (estimator="xu2018_released" trains with theirs, which is no
    bound); word dropout, theirs in evaluation too; the KL, theirs of two dimensions more; its weight, which theirs
    raises once an epoch and ours at each update, half an epoch later on average; batches, which in theirs keep their
    sentences; perplexities, in which theirs counts padding; and theirs draws the unnormalised mean's length to 1, with
    a weight of 1e-4 and no other effect. `NVRNNEncoder` tells how its network differs.
    """
    options: dict[str, Any] = dict(
        cell="lstm",
        embedding=100,
        hidden=400,
        latent=50,
        dropout=0.5,
        batch_size=20,
        optimizer="sgd",
        learning_rate=10.0,
        clip=0.25,
        decay="xu2018",
        epochs=100,
    )
    known = recipes().options(model)
    if "label" in known and len(corpus.label_names) == 1:
        options["label"] = next(iter(corpus.label_names))
    return options | _warm_up(model, corpus, options["batch_size"], 20)


def miao2016(model: str, corpus: Corpus) -> dict[str, Any]:
    """The first document model's, as its code: Adam at 5e-5 in batches of 64, decoder and encoder by turns.

    One hidden layer of 500, z of 50 numbers; 1,000 rounds of 10 epochs of the decoder and 10 of the encoder, where the
    recipe can take turns. The paper has two layers (`layers=2`). What differs here: the best epoch is that of a
    validation split out of the training documents, theirs of 50 test documents.
    """
    options: dict[str, Any] = dict(
        hidden=500, latent=50, batch_size=64, optimizer="adamw", learning_rate=5e-5, epochs=20_000
    )
    return options | ({"alternate": 10} if "alternate" in recipes().options(model) else {})


def xu2018_nvdm(model: str, corpus: Corpus) -> dict[str, Any]:
    """The spherical paper's for documents, as its code on 20 Newsgroups: SGD at 1.0 in batches of 50, clipped at 1.

    Hidden layers of 400, z of 25 numbers, dropout 0.1, 3 draws of z for each document where the recipe can say so, at
    most 100 epochs by its rule. What differs here: the best epoch is that of a validation split out of the training
    documents, theirs of 1,000 test documents; the KL is the exact one, theirs that of two dimensions more.
    """
    options: dict[str, Any] = dict(
        hidden=400,
        latent=25,
        dropout=0.1,
        batch_size=50,
        optimizer="sgd",
        learning_rate=1.0,
        clip=1.0,
        decay="xu2018_nvdm",
        epochs=100,
    )
    return options | ({"samples": 3} if "samples" in recipes().options(model) else {})


def _warm_up(model: str, corpus: Corpus, batch_size: int, epochs: int) -> dict[str, Any]:
    """A warm-up of so many epochs, for a recipe that has one."""
    if "warm_up" not in recipes().options(model):
        return {}
    return {"warm_up": math.ceil(epochs * len(corpus.splits["train"]) / batch_size)}


PROTOCOLS: dict[str, Callable[[str, Corpus], dict[str, Any]]] = {
    "zhu2020": zhu2020,
    "kim2018": kim2018,
    "shi2020": shi2020,
    "xu2018": xu2018,
    "miao2016": miao2016,
    "xu2018_nvdm": xu2018_nvdm,
}


def protocol(name: str) -> Callable[[str, Corpus], dict[str, Any]]:
    """The protocol of that name; raises ValueError for an unknown one.

    For a model of bags of words it is what of the protocol does not speak of their order.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS)}; there is: {', '.join(PROTOCOLS)}")

    def options(model: str, corpus: Corpus) -> dict[str, Any]:
        unread = OF_ORDER if model in recipes().of_bags else ()
        return {option: value for option, value in PROTOCOLS[name](model, corpus).items() if option not in unread}

    return options
