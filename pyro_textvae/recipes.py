"""START HERE. Each method is one function from sizes to a composition of parts; it says what it changes.

    encoder     Batch -> features                        encoders.py
    posterior   features -> q(z|x) q(c|x)                posteriors.py
    prior       p(c) p(z|c)                              priors.py
    decoder     z -> p(x|z)                              decoders.py
    objective   what is minimised                        terms.py, objective.py
    updates     who moves at a step                      updates.py

A recipe's keyword arguments are the method's hyper-parameters. Your own is a function with `@recipe` above it, in your
own file; it then trains, evaluates and pictures like these.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import nn

from pyro_textvae.decoders import (
    DILATIONS,
    BagOfWordsDecoder,
    Decoder,
    DilatedDecoder,
    HiddenBagOfWordsDecoder,
    LinearStartDecoder,
    RecurrentDecoder,
    SkipDecoder,
)
from pyro_textvae.encoders import BagOfWordsEncoder, NoEncoder, RecurrentEncoder
from pyro_textvae.errors import did_you_mean
from pyro_textvae.nvrnn import Label, NVRNNDecoder, NVRNNEncoder
from pyro_textvae.objective import LeaveOneOutELBO, Term, TextELBO
from pyro_textvae.posteriors import (
    BatchNormBothGaussian,
    BatchNormGaussian,
    BinaryPosterior,
    ByVariable,
    CommittedGaussian,
    Gaussian,
    LearntVonMisesFisherPosterior,
    NoPosterior,
    OneHotPosterior,
    OneHotsBeside,
    Point,
    VonMisesFisherPosterior,
    WithComponents,
)
from pyro_textvae.priors import (
    AutoregressivePrior,
    BinaryPrior,
    CategoricalMixture,
    FullCovarianceMixture,
    GaussianMixture,
    LearntVonMisesFisherMixture,
    MarginalGaussianMixture,
    Mixture,
    NoPrior,
    OneHotsBesideNormal,
    Prior,
    SharedVarianceMixture,
    StandardNormal,
    UniformOneHots,
    UniformSphere,
    VonMisesFisherMixture,
)
from pyro_textvae.refine import SemiAmortisedVAE
from pyro_textvae.schedules import Cyclic, Linear, Sigmoid, Weight, times, weight_at
from pyro_textvae.size import Size
from pyro_textvae.terms import (
    CONSTRAINED,
    KL,
    BagOfWords,
    BatchFreeBits,
    BetaELBO,
    DispersedELBO,
    FreeBits,
    ImportanceWeightedELBO,
    LabelCrossEntropy,
    MIConstraintELBO,
    MutualInformation,
    Reconstruction,
    ReleasedEstimator,
    SelfLabellingELBO,
    SentenceDimensionFreeBits,
    SentenceFreeBits,
    VariableFreeBits,
)
from pyro_textvae.updates import JOINT, Aggressive, Alternating, DualAscent, Multiplier, Updates
from pyro_textvae.vae import TextVAE, initialise


@dataclass(frozen=True)
class Recipe:
    """A composition: a model with its guide, what is minimised, and who moves at a step."""

    vae: TextVAE
    objective: TextELBO
    updates: Updates = JOINT


def compose(
    size: Size,
    *,
    encoder: nn.Module | None = None,
    posterior: nn.Module | None = None,
    prior: Prior | None = None,
    decoder: Decoder | None = None,
    objective: TextELBO | None = None,
    build: Callable[..., TextVAE] = TextVAE,
) -> Recipe:
    """Put parts together; what is left out is the plain Gaussian VAE's (Bowman et al. 2016).

    `build` makes the model of encoder, posterior, prior and decoder: TextVAE, or a subclass with programs of its own.
    """
    prior = prior or StandardNormal(size.latent)
    parts = build(
        encoder or RecurrentEncoder(size),
        posterior or Gaussian(size.features, size.latent),
        prior,
        decoder or RecurrentDecoder(size, prior.code),
    )
    initialise(parts, size.initialisation)
    return Recipe(parts, objective or BetaELBO())


class Recipes(Mapping[str, Callable[..., Recipe]]):
    """The known recipes by name; iterates over names."""

    def __init__(self) -> None:
        self._known: dict[str, Callable[..., Recipe]] = {}
        self.of_bags: set[str] = set()
        """Those to which the order of words means nothing; train() cuts no document of theirs."""

    def __getitem__(self, name: str) -> Callable[..., Recipe]:
        if name not in self._known:
            raise ValueError(
                f"unknown recipe {name!r}{did_you_mean(name, self._known)}; the recipes are: {', '.join(self._known)}"
            )
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def register(self, function: Callable[..., Recipe]) -> Callable[..., Recipe]:
        self._known[function.__name__] = function
        return function

    def options(self, name: str) -> dict[str, Any]:
        """The recipe's own options and their defaults."""
        parameters = list(inspect.signature(self[name]).parameters.values())
        return {parameter.name: parameter.default for parameter in parameters[1:]}

    def summary(self, name: str) -> str:
        """The first line of the recipe's docstring."""
        return (inspect.getdoc(self[name]) or name).splitlines()[0]


_RECIPES = Recipes()
recipe = _RECIPES.register
"""Decorator: make a function from a Size to a Recipe known under its own name."""


def bag_recipe(function: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Decorator: the same for a method to which the order of words means nothing. train() then cuts no document."""
    _RECIPES.of_bags.add(function.__name__)
    return recipe(function)


def recipes() -> Recipes:
    """The known recipes: iterate for names, index for functions.

    >>> "dem_vae" in recipes()
    True
    """
    return _RECIPES


@recipe
def lstm_lm(size: Size) -> Recipe:
    """LSTM language model without a code: the decoder alone, the yardstick of every NLL."""
    if size.cell == "gru":
        raise ValueError("'cell' is 'gru', but lstm_lm is an LSTM: leave 'cell' out")
    size = replace(size, cell="lstm")
    return compose(size, encoder=NoEncoder(), posterior=NoPosterior(), prior=NoPrior())


@recipe
def ae(size: Size) -> Recipe:
    """Autoencoder: a code without noise and without KL. No bound on log p(x); its prior serves only to sample from."""
    return compose(size, posterior=Point(size.features, size.latent), objective=TextELBO(Reconstruction()))


@recipe
def vae(size: Size) -> Recipe:
    """Gaussian VAE, the plain ELBO: the one that collapses (Bowman et al. 2016)."""
    return compose(size)


@recipe
def annealed_vae(size: Size, shape: Literal["linear", "sigmoid"] = "linear", warm_up: int = 2000) -> Recipe:
    """VAE whose KL weight rises to 1 in `warm_up` updates, linearly or (to 0.998) as a sigmoid (Bowman et al. 2016)."""
    if shape not in ("linear", "sigmoid"):
        raise ValueError(f"'shape' is {shape!r}, but a warm-up is 'linear' or 'sigmoid'")
    if warm_up < 1:
        raise ValueError(f"'warm_up' is {warm_up}, but it lasts at least one update; without one, train 'vae'")
    weight: Weight = Linear(warm_up) if shape == "linear" else Sigmoid(middle=warm_up // 2, slope=12.5 / warm_up)
    return compose(size, objective=BetaELBO(weight))


@recipe
def cyclic_vae(size: Size, period: int = 1000, rising: float = 0.5) -> Recipe:
    """VAE whose KL weight rises anew every `period` updates (Fu et al. 2019)."""
    return compose(size, objective=BetaELBO(Cyclic(period, rising)))


@recipe
def beta_vae(size: Size, beta: float = 0.4) -> Recipe:
    """VAE with a constant KL weight; below 1 its loss is no bound (Higgins et al. 2017)."""
    return compose(size, objective=BetaELBO(beta))


def _warm_up(updates: int) -> Weight:
    if updates < 0:
        raise ValueError(f"'warm_up' is {updates}, but it lasts some updates, or none: 0")
    return Linear(updates) if updates else 1.0


@recipe
def free_bits_vae(
    size: Size,
    nats: float = 4.0,
    per: Literal["sentence", "dimension", "batch", "batch dimension"] = "dimension",
    warm_up: int = 0,
) -> Recipe:
    """VAE that pays for no KL below `nats` a sentence, so that to empty the code gains nothing (Kingma et al. 2016).

    per="sentence"         max(KL(x), nats): the BN-VAE code's mode 1 (Zhu et al. 2020)
    per="dimension"        nats / D for each of a sentence's D dimensions: its mode 2, and that of Li et al. 2019
    per="batch"            max(mean KL of the batch, nats): mode 3 of Li et al. 2019's code
    per="batch dimension"  nats / D for each dimension's mean over the batch: as Kingma et al. define it

    The KL's weight rises to 1 in `warm_up` updates (0: it is 1 from the start).
    """
    if not 0 < nats < math.inf:
        raise ValueError(f"'nats' is {nats!r}, but what is free is positive and finite; for nothing free, train 'vae'")
    weight = _warm_up(warm_up)
    kinds = {
        "sentence": SentenceFreeBits(weight, nats),
        "dimension": SentenceDimensionFreeBits(weight, nats),
        "batch": BatchFreeBits(weight, nats),
        "batch dimension": FreeBits(weight, nats / size.latent),
    }
    if per not in kinds:
        raise ValueError(f"'per' is {per!r}{did_you_mean(per, kinds)}; it is one of {', '.join(kinds)}")
    return compose(size, objective=TextELBO(Reconstruction(), kinds[per]))


def with_bag_of_words(made: Recipe, weight: Weight = 1.0) -> Recipe:
    """Any recipe, its z also made to predict the sentence's words by itself, without the words before them.

    So z has to say what the sentence is about, however good the decoder is (Zhao et al. 2017). The loss gains `weight`
    times what those words cost; the reported ELBO does not.
    """
    made.vae.decoder.add_bag()
    return replace(made, objective=made.objective.with_terms(BagOfWords(weight)))


@recipe
def bow_vae(size: Size, bag_of_words: float = 1.0, warm_up: int = 500) -> Recipe:
    """VAE whose z must also predict the bag of the sentence's words by itself (Zhao et al. 2017)."""
    return with_bag_of_words(compose(size, objective=BetaELBO(_warm_up(warm_up))), bag_of_words)


@recipe
def mi_constrained_vae(
    size: Size,
    multiplier: float = 2.0,
    nats: float = 5.0,
    beta: float = 1.0,
    constrained: Literal["kl", "information"] = "kl",
    dual_rate: float = 0.0,
) -> Recipe:
    """VAE that pays `multiplier` for each nat that the mean KL lacks of `nats` (a 2019 note on KL vanishing).

    The loss is R + beta KL + multiplier max(nats - mean KL, 0), the note's lambda and c.

    constrained="kl"           as the note has it: a KL of `nats`, of which none need be information
    constrained="information"  the same of I(x;z) as a batch shows it, which is less than ln `batch_size`

    Below `nats` the KL has the weight beta - multiplier: one above beta leaves any collapse, a smaller one only where
    words pay for a code at that weight. With a `dual_rate` above 0 it need not be known: it begins at `multiplier`, and
    after every update rises by the rate times what the batch lacked, or falls (dual ascent).
    """
    if constrained not in CONSTRAINED:
        raise ValueError(
            f"'constrained' is {constrained!r}{did_you_mean(constrained, CONSTRAINED)}, but it is 'kl' or 'information'"
        )
    if not 0 <= multiplier < math.inf:
        raise ValueError(f"'multiplier' is {multiplier!r}, but what a missing nat costs is finite and at least 0")
    if not 0 <= dual_rate < math.inf:
        raise ValueError(f"'dual_rate' is {dual_rate!r}, but a rate is finite and at least 0; at 0 lambda stays")
    if not dual_rate:
        return compose(size, objective=MIConstraintELBO(multiplier, nats, beta, constrained))
    # Twice beta: a nat that lacks is then judged to cost more than it saves, and a collapsed epoch is not the best.
    dual = Multiplier(multiplier, dual_rate, judging=2 * beta)
    objective = MIConstraintELBO(dual, nats, beta, constrained)
    made = compose(size, objective=objective)
    made.vae.multiplier = dual
    return replace(made, updates=DualAscent(dual, objective, {"kl": "kl_z"}.get(constrained, constrained), nats))


def with_self_labelling(made: Recipe, size: Size, labelling: Weight = 1.0, beta: Weight = 1.0) -> Recipe:
    """The network of a recipe of a Gaussian code; its objective the ELBO and that z is drawn to the decoder's own label
    g(x), in place of the recipe's (Zhang et al. 2019)."""
    initialise(made.vae.decoder.add_labeller(size), size.initialisation)
    return replace(made, objective=SelfLabellingELBO(labelling, beta))


@recipe
def self_labelling_vae(size: Size, labelling: float = 1.0, beta: float = 1.0) -> Recipe:
    """VAE whose z is drawn to g(x), a network that recovers z from what the decoder makes of it (Zhang et al. 2019).

    The loss is R + beta KL + labelling |z - g(x)|^2; g learns beside it, from sentences that the decoder draws. The
    KL cannot vanish, though the information may: where the decoder ignores z, g learns the same label for every
    sentence. The published model is conditional, on what a sentence answers to; that one needs a dialogue model.
    """
    return with_self_labelling(compose(size), size, labelling, beta)


@recipe
def iwae(size: Size, samples: int = 5) -> Recipe:
    """VAE trained on the importance-weighted bound of `samples` draws, tighter than the ELBO (Burda et al. 2016).

    Its q(z|x) is fitted to be a proposal, and need not resemble the posterior. A step costs `samples` times a VAE's.
    """
    return compose(size, objective=ImportanceWeightedELBO(samples))


@recipe
def skip_vae(size: Size) -> Recipe:
    """VAE whose z enters the output layer too, past the decoder's network (skip connections: Dieng et al. 2019)."""
    return compose(size, decoder=SkipDecoder(size, size.latent))


@recipe
def cnn_vae(size: Size, width: Literal["small", "medium", "large", "very large"] = "small") -> Recipe:
    """VAE with a dilated CNN as its decoder, which sees 15, 63, 125 or 187 words back (Yang et al. 2017).

    The widths are the paper's SCNN, MCNN, LCNN and VLCNN. The encoder is an LSTM, unless `cell` says "gru".
    """
    if width not in DILATIONS:
        raise ValueError(f"'width' is {width!r}{did_you_mean(width, DILATIONS)}; it is one of {', '.join(DILATIONS)}")
    size = replace(size, cell=size.cell or "lstm")
    return compose(size, decoder=DilatedDecoder(size, size.latent, DILATIONS[width]))


@recipe
def sa_vae(
    size: Size,
    steps: int = 20,
    rate: float = 1.0,
    warm_up: int = 500,
    network: Literal["shared", "kim2018"] = "shared",
) -> Recipe:
    """VAE whose encoder only begins the posterior; `steps` gradient steps on the bound finish it (Kim et al. 2018).

    Its decoder is the other recipes' ("shared"), or begins as the paper's ("kim2018").
    """
    if network not in ("shared", "kim2018"):
        raise ValueError(f"'network' is {network!r}, but it is 'shared' or 'kim2018'")
    weight = _warm_up(warm_up)
    objective = BetaELBO(weight)
    refined = partial(SemiAmortisedVAE, steps=steps, rate=rate, weight=lambda: weight_at(weight, objective.step))
    decoder = None if network == "shared" else LinearStartDecoder(size, size.latent)
    return compose(size, decoder=decoder, objective=objective, build=refined)


@recipe
def lagging_vae(size: Size, block: int = 15, most: int = 99, warm_up: int = 500) -> Recipe:
    """VAE whose encoder trains ahead of its decoder until the code stops gaining information (He et al. 2019)."""
    return replace(annealed_vae(size, warm_up=warm_up), updates=Aggressive(block, most))


@recipe
def bn_vae(size: Size, gamma: float = 0.7) -> Recipe:
    """VAE whose posterior means are batch-normalised: its KL's floor is latent * gamma^2 / 2 (Zhu et al. 2020)."""
    return compose(size, posterior=BatchNormGaussian(size.features, size.latent, gamma))


@recipe
def bn_both_vae(size: Size, tau: float = 0.5) -> Recipe:
    """BN-VAE with the deviations normalised too: codes of a batch have the prior's moments (Zhu et al. 2020, v2).

    At least the share `tau` of each dimension's second moment is the means'; how much more is learnt.
    """
    return compose(size, posterior=BatchNormBothGaussian(size.features, size.latent, tau))


@recipe
def delta_vae(
    size: Size, delta: float = 0.1, prior: Literal["independent", "autoregressive"] = "independent"
) -> Recipe:
    """VAE whose posterior cannot come nearer to its prior than `delta` nats a dimension (Razavi et al. 2019).

    With the "independent" prior Normal(0, I) the posterior's family keeps away: each dimension's KL is at least delta.
    With the "autoregressive" one, a chain of correlated numbers, an independent posterior cannot follow the prior: the
    KL of all D is at least delta D.
    """
    if prior == "independent":
        return compose(size, posterior=CommittedGaussian(size.features, size.latent, delta))
    if prior == "autoregressive":
        return compose(size, prior=AutoregressivePrior(size.latent, delta))
    raise ValueError(f"'prior' is {prior!r}, but delta_vae's is 'independent' or 'autoregressive'")


@recipe
def vmf_vae(size: Size, concentration: float = 13.0) -> Recipe:
    """VAE on the unit sphere with a von Mises-Fisher posterior; its KL is a constant (Xu & Durrett 2018)."""
    return compose(
        size,
        posterior=VonMisesFisherPosterior(size.features, size.latent, concentration),
        prior=UniformSphere(size.latent),
    )


Estimator = Literal["elbo", "xu2018_released"]


def _nvrnn(
    size: Size,
    *,
    posterior: Callable[[Size], nn.Module] | None = None,
    prior: Prior | None = None,
    objective: TextELBO | None = None,
    bag_of_words: bool = False,
    label: str | None = None,
    label_shares: Sequence[float] | None = None,
) -> Recipe:
    """The NVRNN's networks around a posterior and its prior, or (None) around no code."""
    if label is None and label_shares is not None:
        raise ValueError(f"'label_shares' is {label_shares!r}, but no label is told: leave it out, or name the 'label'")
    size, prior = replace(size, cell=size.cell or "lstm"), prior or NoPrior()

    def told() -> Label | None:
        return None if label is None else Label(label, label_shares or ())

    return compose(
        size,
        encoder=NVRNNEncoder(size, told()) if posterior else NoEncoder(),
        posterior=posterior(size) if posterior else NoPosterior(),
        prior=prior,
        decoder=NVRNNDecoder(size, prior.code, told(), bag_of_words),
        objective=objective,
    )


def _estimate(estimator: Estimator, weight: Weight) -> TextELBO:
    kinds: dict[str, Callable[[Weight], TextELBO]] = {"elbo": BetaELBO, "xu2018_released": ReleasedEstimator}
    if estimator not in kinds:
        raise ValueError(
            f"'estimator' is {estimator!r}{did_you_mean(estimator, kinds)}, but it is 'elbo', a bound, or "
            "'xu2018_released', which is none"
        )
    return kinds[estimator](weight)


@recipe
def nvrnn(
    size: Size,
    bag_of_words: bool = False,
    label: str | None = None,
    label_shares: Sequence[float] | None = None,
    beta: float = 1.0,
    warm_up: int = 0,
    shape: Literal["sigmoid", "linear"] = "sigmoid",
    estimator: Estimator = "elbo",
) -> Recipe:
    """LSTM VAE with a Gaussian z at every word and in the first state (Xu & Durrett 2018; Bowman et al. 2016).

    word_dropout=1 makes it inputless. `layers` and `encoder_layers` are apart: the paper's text has the encoder deep,
    its code the decoder.

    `bag_of_words` tells the decoder the mean of the sentence's word embeddings, `label` (a column of the corpus)
    encoder and decoder a label. Then all that is reported is of p(x | bag of x, label), and compares with `nvrnn_lm`
    told the same. label="stars" names the column: a field beside "text" in a .jsonl; the one column of a .tsv is called
    "label", or as `label_columns` names it. `label_shares`, how often each class comes, train() counts.

    The KL's weight rises in `warm_up` updates from 0 (sigmoid: 0.007) to `beta` (0.993 of it); 0: it is `beta` from the
    start. Of the released weights, "sigmoid" over 20 epochs of updates is code 2, "linear" code 1; codes 3 and 4 are a
    `beta` of 0.5 and 0.2, and below 1 the loss is no bound.

    estimator="xu2018_released" trains on the mean of three z and one KL, as released: no bound (terms.py). Evaluation
    reports bounds all the same, and that number beside them under its name.
    """
    if shape not in ("sigmoid", "linear"):
        raise ValueError(f"'shape' is {shape!r}, but a warm-up is 'sigmoid' or 'linear'")
    weight = _warm_up(warm_up)
    if warm_up and shape == "sigmoid":
        weight = Sigmoid(middle=warm_up // 2, slope=10 / warm_up)
    return _nvrnn(
        size,
        posterior=lambda size: Gaussian(size.features, size.latent),
        prior=StandardNormal(size.latent),
        objective=_estimate(estimator, times(weight, beta)),
        bag_of_words=bag_of_words,
        label=label,
        label_shares=label_shares,
    )


@recipe
def vmf_nvrnn(
    size: Size,
    concentration: float = 80.0,
    concentrations: Literal["fixed", "softplus", "clipped"] = "fixed",
    gradient: Literal["exact", "detached"] = "exact",
    bag_of_words: bool = False,
    label: str | None = None,
    label_shares: Sequence[float] | None = None,
    estimator: Estimator = "elbo",
) -> Recipe:
    """NVRNN on the unit sphere: a von Mises-Fisher posterior of fixed or learnt concentration (Xu & Durrett 2018).

    concentrations="fixed"     the KL is a constant that no training can lower
    concentrations="softplus"  one for each sentence, learnt, positive
    concentrations="clipped"   the same as a line, cut to 10 to 150 as released

    gradient="detached" takes a learnt one's gradient through the draw away, as released: the KL alone then moves it,
    down (LearntVonMisesFisherPosterior).

    label="stars" names the label column that encoder and decoder are told: a field beside "text" in a .jsonl; the one
    column of a .tsv is called "label", or as `label_columns` names it. The other options are `nvrnn`'s.
    """
    for name, value, known in (
        ("concentrations", concentrations, ("fixed", "softplus", "clipped")),
        ("gradient", gradient, ("exact", "detached")),
    ):
        if value not in known:
            raise ValueError(f"{name!r} is {value!r}{did_you_mean(value, known)}; it is one of {', '.join(known)}")
    if concentrations == "fixed" and gradient != "exact":
        raise ValueError(f"'gradient' is {gradient!r}, but a fixed concentration has none: learn it, or leave it out")

    def posterior(size: Size) -> nn.Module:
        if concentrations == "fixed":
            return VonMisesFisherPosterior(size.features, size.latent, concentration)
        return LearntVonMisesFisherPosterior(
            size.features, size.latent, concentration, kind=concentrations, gradient=gradient
        )

    return _nvrnn(
        size,
        posterior=posterior,
        prior=UniformSphere(size.latent),
        objective=_estimate(estimator, 1.0),
        bag_of_words=bag_of_words,
        label=label,
        label_shares=label_shares,
    )


@recipe
def nvrnn_lm(
    size: Size, bag_of_words: bool = False, label: str | None = None, label_shares: Sequence[float] | None = None
) -> Recipe:
    """NVRNN without a code: the language model that it is compared with, told the same (Xu & Durrett 2018)."""
    return _nvrnn(size, bag_of_words=bag_of_words, label=label, label_shares=label_shares)


LEAST: dict[str, tuple[int, str]] = {
    "variables": (1, "there is at least 1"),
    "components": (2, "a mixture has at least 2; for one, train 'vae'"),
    "classes": (2, "a discrete variable has at least 2"),
}


def _check_counts(**counts: Any) -> None:
    """Refuse numbers of discrete variables, components and classes that are none, before a part is built with them."""
    for name, value in counts.items():
        least, why = LEAST[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name!r} is {value!r}, but a whole number is needed: {why}")
        if value < least:
            raise ValueError(f"{name!r} is {value}, but {why}")


def _mixture(
    size: Size,
    z_posterior: Callable[[], nn.Module],
    prior: Callable[[int, int, int], Mixture],
    variables: int,
    components: int,
    dispersion: float,
    mutual_information: float,
    warm_up: int,
) -> Recipe:
    """A mixture prior, and a posterior of its kind: R + w (KL - dispersion L_d - mutual_information I(c;x))."""
    _check_counts(variables=variables, components=components)
    posterior = WithComponents(z_posterior(), size.features, variables, components)
    mixture = prior(size.latent, variables, components)
    objective = DispersedELBO(dispersion, mutual_information, _warm_up(warm_up), mixture.dispersion_bound())
    return compose(size, posterior=posterior, prior=mixture, objective=objective)


def _gaussian(size: Size, variables: int, gamma: float | None) -> Gaussian:
    """A Gaussian posterior of each variable's z; with `gamma` its means are batch-normalised."""
    if gamma is None:
        return Gaussian(size.features, size.latent, variables)
    return BatchNormGaussian(size.features, size.latent, gamma, variables)


@recipe
def gm_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    gamma: float | None = None,
) -> Recipe:
    """Gaussian-mixture prior, the plain ELBO: its components merge (Shi et al. 2020).

    `gamma` batch-normalises the posterior's means. Its floor under the KL is one to Normal(0, I), not to a mixture,
    whose components can follow; that codes keep apart is what remains of it.
    """
    return dgm_vae(size, variables, components, 0.0, mutual_information, warm_up, gamma)


@recipe
def dgm_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    dispersion: float = 0.8,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    gamma: float | None = None,
) -> Recipe:
    """Dispersed Gaussian mixture: `dispersion` of L_d is given back, so components need not merge (Shi et al. 2020)."""
    z_posterior = partial(_gaussian, size, variables, gamma)
    return _mixture(size, z_posterior, GaussianMixture, variables, components, dispersion, mutual_information, warm_up)


@recipe
def free_bits_gm_vae(
    size: Size, variables: int = 1, components: int = 10, nats: float = 4.0, nats_of_c: float = 0.5, warm_up: int = 500
) -> Recipe:
    """Gaussian mixture that pays for no KL below `nats` of z and `nats_of_c` of c (Shi et al. 2020's code).

    Both are a sentence's, shared out evenly among its variables. That code frees 10 and 5 nats of 20 variables of 5
    components; a c whose free bits reach `variables` ln `components` would never be paid for.
    """
    made = gm_vae(size, variables, components)
    return replace(made, objective=TextELBO(Reconstruction(), VariableFreeBits(_warm_up(warm_up), nats, nats_of_c)))


@recipe
def mop_gm_vae(size: Size, variables: int = 1, components: int = 10, warm_up: int = 500) -> Recipe:
    """Gaussian mixture where c is read off z, q(c|z) = p(c|z): a mixture of posteriors (Shi et al. 2020's code).

    c is summed out of both programs. Its KL is that of the drawn z to the whole mixture, since it has no closed form.
    """
    _check_counts(variables=variables, components=components)
    return compose(
        size,
        posterior=ByVariable(Gaussian(size.features, size.latent, variables), variables),
        prior=MarginalGaussianMixture(size.latent, variables, components),
        objective=BetaELBO(_warm_up(warm_up)),
    )


@recipe
def cm_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    classes: int = 8,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    temperature: float = 1.0,
    straight_through: bool = True,
    supervised: str | None = None,
    supervised_z: Sequence[str] | None = None,
) -> Recipe:
    """Mixture of categorical components: z is `latent` discrete variables of `classes` each (Shi et al. 2020).

    `supervised_z` lists label columns that variables of z learn to tell, the first the first column, as the paper does
    (["emotion", "act"]); `supervised` names one that q(c|x) learns to tell, whose classes are then the components. The
    loss gains -log q(label | x) for each, not annealed; nothing is clamped to a label. Draws of z are relaxed by
    Gumbel-softmax in training, and one-hots with a relaxed gradient where `straight_through`.
    """
    return dcm_vae(
        size,
        variables,
        components,
        classes,
        0.0,
        mutual_information,
        warm_up,
        temperature,
        straight_through,
        supervised,
        supervised_z,
    )


@recipe
def dcm_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    classes: int = 8,
    dispersion: float = 0.4,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    temperature: float = 1.0,
    straight_through: bool = True,
    supervised: str | None = None,
    supervised_z: Sequence[str] | None = None,
) -> Recipe:
    """Dispersed mixture of categorical components: CM-VAE with `dispersion` of L_d given back (Shi et al. 2020)."""
    _check_counts(classes=classes)
    one_hots = (size.features, size.latent, classes, variables, temperature, straight_through)
    z_posterior = partial(OneHotPosterior, *one_hots)
    prior = partial(CategoricalMixture, classes=classes)
    made = _mixture(size, z_posterior, prior, variables, components, dispersion, mutual_information, warm_up)
    if supervised is not None:
        if supervised in _columns(supervised_z):
            raise ValueError(
                f"{supervised!r} stands in 'supervised' and in 'supervised_z': c or a variable of z tells it"
            )
        made = replace(made, objective=made.objective.with_terms(LabelCrossEntropy(column=supervised)))
    return _telling(made, size.latent * variables, supervised_z)


def _columns(supervised_z: Sequence[str] | None) -> list[str]:
    return [supervised_z] if isinstance(supervised_z, str) else list(supervised_z or ())


def _telling(made: Recipe, variables: int, supervised_z: Sequence[str] | None) -> Recipe:
    """The recipe with as many of z's discrete variables as there are columns made to tell them, in their order."""
    columns = _columns(supervised_z)
    if len(columns) > variables or len(set(columns)) < len(columns):
        raise ValueError(
            f"'supervised_z' is {columns}, but it names different label columns, at most one for each of z's "
            f"{variables} discrete variables"
        )
    if not columns:
        return made
    terms = [LabelCrossEntropy(column=column, site="z", variable=m) for m, column in enumerate(columns)]
    return replace(made, objective=made.objective.with_terms(*terms))


@recipe
def vmf_mixture_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    concentration: float = 20.0,
    component_concentration: float = 10.0,
    concentrations: Literal["fixed", "learnt"] = "fixed",
) -> Recipe:
    """Mixture of von Mises-Fisher components on the sphere, the plain ELBO: its components merge (this package)."""
    return dvmf_mixture_vae(
        size, variables, components, 0.0, mutual_information, warm_up, concentration, component_concentration,
        concentrations,
    )  # fmt: skip


@recipe
def dvmf_mixture_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    dispersion: float = 0.8,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    concentration: float = 20.0,
    component_concentration: float = 10.0,
    concentrations: Literal["fixed", "learnt"] = "fixed",
) -> Recipe:
    """Dispersed mixture of von Mises-Fisher components, whose dispersion has a bound: it may exceed 1 (this package).

    `concentration` is the posterior's; the components' is fixed, or begins there and is learnt within a factor of 20.
    """
    kinds = {"fixed": VonMisesFisherMixture, "learnt": LearntVonMisesFisherMixture}
    if concentrations not in kinds:
        raise ValueError(f"'concentrations' is {concentrations!r}, but the components' are 'fixed' or 'learnt'")
    z_posterior = partial(VonMisesFisherPosterior, size.features, size.latent, concentration, variables)
    prior = partial(kinds[concentrations], concentration=component_concentration)
    return _mixture(size, z_posterior, prior, variables, components, dispersion, mutual_information, warm_up)


Family = Literal["gaussian", "shared variance", "full covariance", "categorical", "bernoulli", "vmf"]
OPTIONS_OF_FAMILIES: dict[str, tuple[str, ...]] = {
    "gaussian": ("gamma",),
    "shared variance": ("gamma",),
    "full covariance": ("gamma",),
    "categorical": ("classes",),
    "bernoulli": (),
    "vmf": ("concentration", "component_concentration"),
}
WHY_NOT = {
    "gamma": "batch normalisation sets the scale of means in a space that has one; directions and one-hots have none",
    "concentration": "a von Mises-Fisher posterior lives on a sphere, where no other family has a density",
    "component_concentration": "only von Mises-Fisher components have a concentration",
    "classes": "only categorical components have classes of z",
}


@recipe
def dem_vae(
    size: Size,
    family: Family = "gaussian",
    variables: int = 1,
    components: int = 10,
    dispersion: float = 0.8,
    mutual_information: float = 1.0,
    warm_up: int = 500,
    concentration: float | None = None,
    component_concentration: float | None = None,
    classes: int | None = None,
    gamma: float | None = None,
) -> Recipe:
    """Dispersed exponential-family mixture with mutual information: clusters one can read (Shi et al. 2020).

    family="gaussian"         diagonal, each component with its own variances
    family="shared variance"  diagonal, all components with the same
    family="full covariance"  beside a diagonal posterior
    family="categorical"      z is `latent` discrete variables of `classes` (None: 8) each; dcm_vae has more options
    family="bernoulli"        the same of 2 classes
    family="vmf"              on the sphere; dvmf_mixture_vae has more options

    The two concentrations are the posterior's (None: 20) and the components' (None: 10), of the "vmf" family alone;
    `gamma` batch-normalises the posterior's means, of Gaussian families alone (None: it does not).
    """
    if family not in OPTIONS_OF_FAMILIES:
        raise ValueError(
            f"'family' is {family!r}{did_you_mean(family, OPTIONS_OF_FAMILIES)}, but components are "
            f"{', '.join(map(repr, OPTIONS_OF_FAMILIES))}"
        )
    given = {
        "concentration": concentration,
        "component_concentration": component_concentration,
        "classes": classes,
        "gamma": gamma,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in OPTIONS_OF_FAMILIES[family]:
            takers = [repr(other) for other, names in OPTIONS_OF_FAMILIES.items() if name in names]
            raise ValueError(
                f"{name!r} was given, but family={family!r} has none: {WHY_NOT[name]}. Leave it out or take "
                f"{' or '.join(takers)}"
            )
    shared: Any = {"dispersion": dispersion, "mutual_information": mutual_information, "warm_up": warm_up}
    if family == "vmf":
        return dvmf_mixture_vae(size, variables, components, **shared, **given)
    if family in ("categorical", "bernoulli"):
        of_z: Any = {"classes": 2} if family == "bernoulli" else given
        return dcm_vae(size, variables, components, **shared, **of_z)
    kinds: dict[str, type[Mixture]] = {
        "gaussian": GaussianMixture,
        "shared variance": SharedVarianceMixture,
        "full covariance": FullCovarianceMixture,
    }
    z_posterior = partial(_gaussian, size, variables, gamma)
    return _mixture(size, z_posterior, kinds[family], variables, components, **shared)


def _discrete(size: Size, classes: int, temperature: float, straight_through: bool, objective: TextELBO) -> Recipe:
    _check_counts(classes=classes)
    posterior = OneHotPosterior(size.features, size.latent, classes, None, temperature, straight_through)
    return compose(size, posterior=posterior, prior=UniformOneHots(size.latent, classes), objective=objective)


@recipe
def dae(size: Size, classes: int = 10, temperature: float = 1.0, straight_through: bool = False) -> Recipe:
    """Autoencoder of `latent` discrete variables, relaxed by Gumbel-softmax, without a KL (Zhao et al. 2018).

    Nothing asks that classes be used. At first a draw is all noise, and one way to be rid of noise is to make one class
    of each variable certain, the same for all sentences; there a softmax has next to no gradient. On the embedded
    corpus it ends there (8 variables of 10, seed 0, learning rate 0.002: KL 18.41 of at most 18.42 nats and I(c;x) 0.00
    after 500 updates), or comes out slowly (0.01: 1.2 nats after 250 updates, 4.4 after 750). `di_vae`, which pays for
    classes that are not used alike, has 13.2 nats after 250 and reconstructs better.
    """
    return _discrete(size, classes, temperature, straight_through, TextELBO(Reconstruction()))


@recipe
def dvae(
    size: Size,
    classes: int = 10,
    warm_up: int = 500,
    temperature: float = 1.0,
    straight_through: bool = False,
    supervised_z: Sequence[str] | None = None,
) -> Recipe:
    """VAE with a discrete code: `latent` variables of `classes` each, relaxed by Gumbel-softmax (Zhao et al. 2018).

    `supervised_z` lists label columns that its first variables learn to tell, as in `dcm_vae`.
    """
    made = _discrete(size, classes, temperature, straight_through, BetaELBO(_warm_up(warm_up)))
    return _telling(made, size.latent, supervised_z)


@recipe
def dvae_as_released(
    size: Size, classes: int = 10, warm_up: int = 500, temperature: float = 1.0, straight_through: bool = False
) -> Recipe:
    """DVAE whose KL has the weight classes / latent, a slip of a reshape in the code of Shi et al. 2020: no bound.

    That code reshapes the KLs of its M variables of K classes as if they were K, so that it charges K / M of them.
    """
    _check_counts(classes=classes)
    weight = times(_warm_up(warm_up), classes / size.latent)
    return _discrete(size, classes, temperature, straight_through, BetaELBO(weight))


@recipe
def di_vae(
    size: Size,
    classes: int = 10,
    warm_up: int = 0,
    temperature: float = 1.0,
    straight_through: bool = False,
    supervised_z: Sequence[str] | None = None,
) -> Recipe:
    """VAE with a discrete code that pays only KL(q(z) || p(z)), of the batch's aggregate posterior (Zhao et al. 2018).

    That is KL(q(z|x) || p(z)) less the information in the batch, in nats summed over the variables: to inform is free.
    `supervised_z` lists label columns that its first variables learn to tell, as in `dcm_vae`.
    """
    weight = _warm_up(warm_up)
    objective = TextELBO(Reconstruction(), KL(weight), MutualInformation(weight))
    return _telling(_discrete(size, classes, temperature, straight_through, objective), size.latent, supervised_z)


@recipe
def semi_vae(
    size: Size,
    variables: int = 1,
    components: int = 10,
    mutual_information: float = 0.0,
    warm_up: int = 500,
    temperature: float = 1.0,
    straight_through: bool = False,
) -> Recipe:
    """Discrete c and Gaussian z beside it, independent, both read by the decoder (Kingma et al. 2014; Shi et al. 2020).

    c is relaxed by Gumbel-softmax; `mutual_information` pays for a c that depends on the sentence.
    """
    _check_counts(variables=variables, components=components)
    weight = _warm_up(warm_up)
    terms: list[Term] = [Reconstruction(), KL(weight)]
    if mutual_information:
        terms.append(MutualInformation(times(weight, mutual_information)))
    z_posterior = Gaussian(size.features, size.latent)
    return compose(
        size,
        posterior=OneHotsBeside(z_posterior, size.features, variables, components, temperature, straight_through),
        prior=OneHotsBesideNormal(size.latent, variables, components),
        objective=TextELBO(*terms),
    )


@bag_recipe
def g_nvdm(size: Size, alternate: int = 0) -> Recipe:
    """Neural variational document model: a document as a bag of words, its z Gaussian (Miao et al. 2016).

    Of the sizes it reads hidden, latent, layers (of the encoder), dropout and initialisation; the paper has hidden=500
    and latent=50. The posterior's log variance begins at 0 for every document, as in the paper's code. `alternate`
    epochs of the decoder alone and as many of the encoder alone take turns; 0: both move together.
    """
    posterior = Gaussian(size.hidden, size.latent)
    decoder = BagOfWordsDecoder(size, size.latent)
    made = compose(size, encoder=BagOfWordsEncoder(size), posterior=posterior, decoder=decoder)
    nn.init.zeros_(posterior.log_variance.weight)
    nn.init.zeros_(posterior.log_variance.bias)
    if alternate < 0:
        raise ValueError(f"'alternate' is {alternate}, but it is a number of epochs, or 0: both move together")
    return replace(made, updates=Alternating(alternate)) if alternate else made


@bag_recipe
def v_nvdm(size: Size, concentration: float = 100.0, samples: int = 1) -> Recipe:
    """Document model whose z lies on the sphere, with a von Mises-Fisher posterior (Xu & Durrett 2018).

    The paper has concentration 100 for latent=25 and 150 for 50 and 200, hidden=400, and 3 `samples` of z for each
    document of a step; it says 2 layers, of which its code makes one with a tanh and one without. A penalty of that
    code, which keeps the posterior's mean near length 1 before it is normalised, changes no density and is left out.
    """
    prior = UniformSphere(size.latent)
    if samples < 1:
        raise ValueError(f"'samples' is {samples}, but a step takes at least one of each document")
    return compose(
        size,
        encoder=nn.Sequential(BagOfWordsEncoder(size), nn.Linear(size.hidden, size.hidden)),
        posterior=VonMisesFisherPosterior(size.hidden, size.latent, concentration),
        prior=prior,
        decoder=HiddenBagOfWordsDecoder(size, prior.code),
        objective=TextELBO(Reconstruction(), KL(), num_particles=samples),
    )


@bag_recipe
def fdarn(size: Size, autoregressive: bool = True, samples: int = 4) -> Recipe:
    """Document model whose z is `latent` binary variables in a row, each given those before (Mnih & Gregor 2014).

    Prior and posterior have such connections; autoregressive=False has none: a sigmoid belief network. Its gradients
    are the score function's, each of `samples` draws with the others as its baseline (RLOO: LeaveOneOutELBO says why),
    where the paper has NVIL. The encoder is that of g_nvdm, where theirs is linear: what differs is the latent.
    """
    prior = BinaryPrior(size.latent, autoregressive)
    return compose(
        size,
        encoder=BagOfWordsEncoder(size),
        posterior=BinaryPosterior(size.hidden, size.latent, autoregressive),
        prior=prior,
        decoder=BagOfWordsDecoder(size, prior.code),
        objective=LeaveOneOutELBO(Reconstruction(), KL(), num_particles=samples),
    )
