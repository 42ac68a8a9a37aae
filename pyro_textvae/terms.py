"""Terms of the objective, and the named ELBOs that are made of them.

With R = -log p(x|z), every value in nats per sentence:

    ELBO                    -R - KL                        the bound
    BetaELBO                 R + w KL                      a bound only where w >= 1
    FreeBitsELBO             R + max(KL per dimension, floor)        and three more terms that bound something else
    DispersedELBO            R + KL - beta L_d             exceeds the bound by beta L_d
    MutualInformationELBO    R + KL - I(c;x)
    MIConstraintELBO         R + beta KL + lambda max(c - mean KL, 0), or with I(x;z) of the batch for the mean KL
    SelfLabellingELBO        R + beta KL + lambda |z - g(x)|^2
    ImportanceWeightedELBO   -log of the mean over S draws of p(x|z) p(z) / q(z|x): a tighter bound

and what bounds nothing in either direction:

    ReleasedEstimator        -log p(x | mean of three z) + KL of one
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pyro_textvae.distributions import dispersion
from pyro_textvae.errors import did_you_mean
from pyro_textvae.objective import Draw, Term, TextELBO, importance_weighted
from pyro_textvae.schedules import Weight, times


@dataclass(frozen=True)
class Reconstruction(Term):
    """-log p(x|z) at a z drawn from q(z|x)."""

    in_elbo: ClassVar[bool] = True

    def __call__(self, draw: Draw) -> Tensor:
        return -draw.log_likelihood()


RELEASED_DRAWS = 3
"""Of z, whose mean the code released with Xu & Durrett 2018 decodes."""


@dataclass(frozen=True)
class ReconstructionAtMean(Term):
    """-log p(x | mean of `draws` z's), all drawn from q(z|x): what the code released with Xu & Durrett 2018 decodes.

    Beside the KL of one z it is no bound: the mean of n tells more of x than one draw, and one is paid for. Where
    p(x|z) is linear and Gaussian the optimum exceeds log p(x) by 1/2 log((1 + S) / (1 + S/n)) for every dimension of
    signal-to-noise ratio S. It is there to repeat published numbers. A mean of directions is shorter than 1, and the
    decoder sees it so. For a z that is itself the decoder's code.
    """

    draws: int = RELEASED_DRAWS

    def __post_init__(self) -> None:
        if not isinstance(self.draws, int) or self.draws < 1:
            raise ValueError(f"'draws' is {self.draws!r}, but a mean is of a whole number of at least one")

    def __call__(self, draw: Draw) -> Tensor:
        x = draw.p("x")
        others = draw.q("z").rsample(torch.Size([self.draws - 1]))  # (draws - 1, B, D)
        mean = (draw.value("z") + others.sum(0)) / self.draws
        return -x.decoder.log_prob(mean, x.batch)


@dataclass(frozen=True)
class KL(Term):
    """KL from q to p, analytic, summed over the named latent sites (all, if none is named)."""

    in_elbo: ClassVar[bool] = True
    sites: tuple[str, ...] = ()

    def __call__(self, draw: Draw) -> Tensor:
        kls = [draw.kl(site) for site in self.sites or draw.latents]
        return torch.stack(kls).sum(0) if kls else torch.zeros(len(draw.batch), device=draw.batch.tokens.device)


@dataclass(frozen=True)
class FreeBits(Term):
    """KL, no dimension of z counted below `nats`: emptying one further gains nothing (Kingma et al. 2016).

    The floor is on the mean of the batch, not on the sentence. Other sites, such as c, count their KL as it is.
    """

    nats: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.nats < math.inf:
            raise ValueError(f"'nats' is {self.nats!r}, but what is free is finite and at least 0")

    def __call__(self, draw: Draw) -> Tensor:
        others = [draw.kl(site) for site in draw.latents if site != "z"]
        return sum(others, self.of_z(draw).expand(len(draw.batch)))

    def of_z(self, draw: Draw) -> Tensor:
        """What z costs: (B,), or one number for the whole batch."""
        return draw.kl_per_dimension("z").mean(0).clamp_min(self.nats).sum()


@dataclass(frozen=True)
class SentenceFreeBits(FreeBits):
    """KL, that of no sentence counted below `nats`: max(KL(x), nats). Its gradient is that of 1[KL(x) > nats] KL(x)."""

    nats: float = 4.0

    def of_z(self, draw: Draw) -> Tensor:
        return draw.kl("z").clamp_min(self.nats)


@dataclass(frozen=True)
class SentenceDimensionFreeBits(FreeBits):
    """KL, none of a sentence's D dimensions counted below nats / D: sum over i of max(KL_i(x), nats / D).

    Its gradient is that of the sum of 1[KL_i(x) > nats / D] KL_i(x).
    """

    nats: float = 4.0

    def of_z(self, draw: Draw) -> Tensor:
        per_dimension = draw.kl_per_dimension("z")  # (B, D)
        return per_dimension.clamp_min(self.nats / per_dimension.size(-1)).sum(-1)


@dataclass(frozen=True)
class BatchFreeBits(FreeBits):
    """KL, its mean over the batch not counted below `nats`: max(mean KL, nats). A sentence may have less.

    Its gradient is that of 1[mean KL > nats] times the mean KL.
    """

    nats: float = 4.0

    def of_z(self, draw: Draw) -> Tensor:
        return draw.kl("z").mean().clamp_min(self.nats)


@dataclass(frozen=True)
class VariableFreeBits(Term):
    """KL of a mixture, no discrete variable of a sentence counted below nats / M for z and nats_of_c / M for c.

    Sums over the M variables of max(KL of z, nats / M) and of max(KL of c, nats_of_c / M), for each sentence. Their
    gradient is that of KLs counted only where they exceed these, as the free-bits GM-VAE of Shi et al. 2020's code.
    """

    nats: float = 4.0
    nats_of_c: float = 0.5

    def __post_init__(self) -> None:
        for name in ("nats", "nats_of_c"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name!r} is {value!r}, but what is free is finite and at least 0")

    def __call__(self, draw: Draw) -> Tensor:
        per_variable = [(draw.kl_per_variable("z"), self.nats), (draw.kl_per_variable("c"), self.nats_of_c)]
        return sum((kl.clamp_min(nats / len(kl)).sum(0) for kl, nats in per_variable), start=torch.zeros(()))


def _components(draw: Draw) -> str:
    if not draw.enumerated:
        raise ValueError("this term needs a discrete variable c, enumerated in the guide: train a mixture")
    return draw.enumerated[0]


def _discrete(draw: Draw) -> str:
    if not draw.discrete:
        raise ValueError("this term needs a discrete variable c: train a mixture, or a discrete code such as 'di_vae'")
    return draw.discrete[0]


@dataclass(frozen=True)
class Dispersion(Term):
    """L_d = E_q(c|x) A(eta_c) - A(E_q(c|x) eta_c) >= 0: how far apart the components are that q(c|x) mixes.

    It is the part of KL(q(z|x) || p(z|c)) that no encoder can lower: R_z = KL(q(z|x) || averaged prior) + L_d. Its
    weight is the paper's beta, what is given back: 0 is the plain ELBO, 1 removes the dispersion wholly (Shi et al.
    2020; their code's --beta is 1 - ours). Above the KL's own weight the loss has no lower bound.
    """

    sign: ClassVar[int] = -1

    def __call__(self, draw: Draw) -> Tensor:
        site = _components(draw)
        value = dispersion(draw.p("z"), draw.probabilities(site), dim=draw.enumeration_dim(site))  # (M, B)
        return draw.per_sentence(value)


@dataclass(frozen=True)
class MutualInformation(Term):
    """I(c;x) = H(c) - H(c|x) with q(c) the mean of q(c|x) over the batch, summed over the M variables.

    Each variable's is at most ln B and at most ln K. The sum is no information of all of them together, which is at
    most ln B too: variables that tell the same are counted each. With weight 1 it cancels what KL(q(c|x) || p(c))
    charges for it, and leaves KL(q(c) || p(c)) of each variable. c is the first discrete site, a mixture's c or a
    discrete code.
    """

    sign: ClassVar[int] = -1

    def __call__(self, draw: Draw) -> Tensor:
        log_q = draw.log_classes(_discrete(draw))  # (M, B, K)
        log_aggregate = log_q.logsumexp(-2, keepdim=True) - math.log(log_q.size(-2))  # (M, 1, K)
        information = (log_q.exp() * (log_q - log_aggregate)).sum(-1)  # (M, B)
        return draw.per_sentence(information).mean().expand(len(draw.batch))


@dataclass(frozen=True)
class LabelCrossEntropy(Term):
    """-log q(c = label | x): q(c|x) as a classifier of a label column of the corpus; 0 where a label is missing.

    Nothing else of the objective reads the label: c is not clamped to it.

    c is the `variable`-th of the discrete variables of `site` (None: of the first discrete site), which has at least as
    many classes as the column. With `site` "z" of a categorical mixture it is what Shi et al. (2020) supervise.
    """

    column: str = ""
    site: str | None = None
    variable: int = 0

    @property
    def name(self) -> str:
        """With the column, since there may be several: "label_cross_entropy_act"."""
        return f"{super().name}_{self.column}"

    def __call__(self, draw: Draw) -> Tensor:
        if self.column not in draw.batch.labels:
            raise ValueError(
                f"the batch has no label column {self.column!r}{did_you_mean(self.column, draw.batch.labels)}: train "
                "with the corpus's labels, or without 'supervised'"
            )
        labels = draw.batch.labels[self.column]  # (B,)
        log_q = draw.log_classes(self.site or _discrete(draw))[self.variable]  # (B, K)
        known = log_q.gather(-1, labels.clamp_min(0)[:, None]).squeeze(-1)
        return -torch.where(labels >= 0, known, 0.0)


@dataclass(frozen=True)
class BagOfWords(Term):
    """-sum over the words of log p(word | z), by a layer that knows z alone, not the words before (Zhao et al. 2017).

    Each of a sentence's words counts, its </s> too. The layer is the decoder's `bag`; `recipes.with_bag_of_words` gives
    it to any recipe.
    """

    def __call__(self, draw: Draw) -> Tensor:
        x = draw.p("x")
        return -x.decoder.log_prob_of_bag(x.code, x.batch)


@dataclass(frozen=True)
class Information(Term):
    """I(x;z) as a batch shows it: log q(z|x) less log of the mean over the batch of q(z|x), at the drawn z.

    At most ln B. In expectation over batches it is a lower bound on I(x;z), where the mean KL is an upper one: KL =
    I(x;z) + KL(q(z) || p(z)). Batches of sentences of one length show what z tells beyond the length. With weight 0
    it is reported and asks for nothing.
    """

    sign: ClassVar[int] = -1

    def __call__(self, draw: Draw) -> Tensor:
        return draw.information()


CONSTRAINED = ("kl", "information")

LN_OF_THE_LARGEST_BATCH = math.log(10_000)
"""Nats: to show more, a batch would need more sentences than anyone takes."""


@dataclass(frozen=True)
class MIConstraint(Term):
    """max(nats - what the batch has, 0): a hinge that asks for at least `nats` of one of two things.

    of="kl"           the mean KL, an upper bound of I(x;z): a KL of `nats` is possible with no information at all
    of="information"  I(x;z) as the batch shows it (`Information`), a lower bound of it: `nats` of that are information

    Its weight is lambda. Beside a decoder that ignores z, a collapsed posterior is left only if lambda exceeds the KL's
    own weight beta, for either. Where less than `nats` is there, a KL has the weight beta - lambda: words may pay for a
    code at that. In a batch of B sentences the information is less than ln B: `train()` refuses more.
    """

    nats: float = 5.0
    of: Literal["kl", "information"] = "kl"

    def __post_init__(self) -> None:
        _check_weight("weight of the constraint", self.weight)
        if not 0 < self.nats < math.inf:
            raise ValueError(
                f"'nats' is {self.nats!r}, but what a constraint asks for is positive and finite: nothing is asked for "
                "by BetaELBO, or the recipe 'beta_vae'"
            )
        if self.of not in CONSTRAINED:
            raise ValueError(
                f"'of' is {self.of!r}{did_you_mean(self.of, CONSTRAINED)}, but a constraint is of 'kl' or 'information'"
            )

    def check_batches(self, sentences: int) -> None:
        if self.of == "information" and self.nats >= math.log(sentences):
            enough = f"batches of more than {math.floor(math.exp(min(self.nats, 20)))} sentences"
            raise ValueError(
                f"'nats' is {self.nats!r}, but the information that a batch of {sentences} sentences shows is less "
                f"than ln {sentences} = {math.log(sentences):.2f}: ask for less"
                + (f", or take {enough}" if self.nats < LN_OF_THE_LARGEST_BATCH else "")
            )

    def __call__(self, draw: Draw) -> Tensor:
        if self.of == "information":
            has = draw.information()
        else:
            has = torch.stack([draw.kl(site) for site in draw.latents]).sum(0)
        return (self.nats - has.mean()).clamp_min(0).expand(len(draw.batch))


@dataclass(frozen=True)
class SelfLabelling(Term):
    """|z - g(x)|^2 at the drawn z, g(x) the decoder's own label of the sentence, held fixed (Zhang et al. 2019).

    Its weight is lambda, the KL's is beta. The best q(z|x) is p(z) p(x|z)^(1/beta) exp(-lambda/beta |z - g(x)|^2),
    normalised; beside a decoder that ignores z, and p(z) = Normal(0, I), that is

        Normal(2 lambda g(x) / (beta + 2 lambda), beta / (beta + 2 lambda))

    whose KL is never 0. It informs as far as g does: where g is the same for every sentence, so is q. The label is
    the decoder's `labeller`, which `LabelRecovery` teaches; `recipes.with_self_labelling` gives both to a recipe.
    """

    def __call__(self, draw: Draw) -> Tensor:
        x = draw.p("x")
        return (x.code - x.decoder.guess(x.batch).detach()).square().sum(-1)


@dataclass(frozen=True)
class LabelRecovery(Term):
    """|g(x') - z'|^2 of z' drawn from the prior and x' from p(x|z'), both held fixed: it teaches g alone.

    Its optimum is g(x) = E[z|x] under the decoder's own p(z) p(x|z). Sentences as long as the batch's longest are
    drawn; one that has not ended by then counts nothing, which leaves the optimum as it is. In evaluation mode it is 0:
    what g has not learnt is no cost of the VAE's.
    """

    def __call__(self, draw: Draw) -> Tensor:
        x = draw.p("x")
        if not x.decoder.training:
            return torch.zeros(len(draw.batch), device=x.code.device)
        z = draw.p("z").sample()  # (B, D)
        labels, ended = x.decoder.guess_of_drawn(z, x.batch)
        return torch.where(ended, (labels - z).square().sum(-1), 0)


def _check_weight(name: str, weight: Weight) -> None:
    if not callable(weight) and not 0 <= weight < math.inf:
        raise ValueError(f"the {name} is {weight!r}, but a weight is finite and at least 0")


class BetaELBO(TextELBO):
    """Reconstruction + weight KL (Higgins et al. 2017); `weight` may be a schedule (annealing: Bowman et al. 2016)."""

    def __init__(self, weight: Weight = 1.0) -> None:
        _check_weight("weight of the KL", weight)
        super().__init__(Reconstruction(), KL(weight))


class ReleasedEstimator(TextELBO):
    """-log p(x | mean of `draws` z's) + weight KL of one: the released code's estimator (Xu & Durrett 2018).

    NO BOUND: minus it may exceed log p(x), by nats a sentence; ReconstructionAtMean tells by how much. Its report has
    the true ELBO beside it, which costs a pass of the decoder.
    """

    def __init__(self, weight: Weight = 1.0, draws: int = RELEASED_DRAWS) -> None:
        _check_weight("weight of the KL", weight)
        super().__init__(ReconstructionAtMean(draws=draws), KL(weight))


class FreeBitsELBO(TextELBO):
    """Reconstruction + weight KL, each dimension of z counted as at least `nats` (Kingma et al. 2016)."""

    def __init__(self, nats: float = 0.25, weight: Weight = 1.0) -> None:
        super().__init__(Reconstruction(), FreeBits(weight, nats))


class DispersedELBO(TextELBO):
    """Reconstruction + weight (KL - dispersion L_d - mutual_information I(c;x)) (Shi et al. 2020).

    Minimised. With `dispersion` 0 and `mutual_information` 0 it is the (annealed) ELBO of a mixture. With
    `mutual_information` at most 1 all else is at least 0, and the loss no lower than weight (1 - dispersion) L_d; so a
    dispersion above 1 is only for components whose L_d has a bound, `most` nats (the prior's `dispersion_bound`), and
    refused for others.
    """

    def __init__(
        self,
        dispersion: float = 0.8,
        mutual_information: float = 0.0,
        weight: Weight = 1.0,
        most: float = math.inf,
    ) -> None:
        if not 0 <= dispersion < math.inf or (dispersion > 1 and most == math.inf):
            raise ValueError(
                f"'dispersion' is {dispersion!r}; it lies in 0 (the plain ELBO) to 1 (no dispersion left in it): above "
                "1, components that flee from each other lower the loss without bound (on a sphere, of a concentration "
                "that has a limit, they cannot: 'dvmf_mixture_vae' takes more)"
            )
        _check_weight("mutual_information", mutual_information)
        terms: list[Term] = [Reconstruction(), KL(weight), Dispersion(times(weight, dispersion))]
        if mutual_information:
            terms.append(MutualInformation(times(weight, mutual_information)))
        super().__init__(*terms)


class MutualInformationELBO(DispersedELBO):
    """Reconstruction + weight (KL - mutual_information I(c;x)): a mixture's ELBO that does not charge for q(c|x)."""

    def __init__(self, mutual_information: float = 1.0, weight: Weight = 1.0) -> None:
        super().__init__(0.0, mutual_information, weight)


class MIConstraintELBO(TextELBO):
    """Reconstruction + beta KL + multiplier max(nats - mean KL, 0) (a 2019 note on KL vanishing).

    The note calls the mean KL the mutual information, which it only bounds from above; of="information" constrains
    I(x;z) as the batch shows it, and reports it. `multiplier` may be a function of the step, as every weight may.
    """

    def __init__(
        self,
        multiplier: Weight = 2.0,
        nats: float = 5.0,
        beta: Weight = 1.0,
        of: Literal["kl", "information"] = "kl",
    ) -> None:
        _check_weight("weight of the KL, beta,", beta)
        terms: list[Term] = [Reconstruction(), KL(beta), MIConstraint(multiplier, nats, of)]
        super().__init__(*terms, *([Information(0.0)] if of == "information" else []))


class SelfLabellingELBO(TextELBO):
    """Reconstruction + beta KL + labelling |z - g(x)|^2, and beside it what g learns by (Zhang et al. 2019)."""

    def __init__(self, labelling: Weight = 1.0, beta: Weight = 1.0) -> None:
        _check_weight("weight of the label", labelling)
        _check_weight("weight of the KL, beta,", beta)
        super().__init__(Reconstruction(), KL(beta), SelfLabelling(labelling), LabelRecovery())


class ImportanceWeightedELBO(TextELBO):
    """-log of the mean over `samples` draws of p(x|z) p(z) / q(z|x), a bound (Burda et al. 2016).

    With 1 draw it is the ELBO, in expectation; with more it is tighter. Guide and model run once, on `samples` copies
    of the batch. The report's "elbo" is the mean over the copies, with analytic KLs; its "loss" is minus the tighter
    bound. Continuous latent sites only.
    """

    def __init__(self, samples: int = 5) -> None:
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
            raise ValueError(f"'samples' is {samples!r}, but a whole number of at least 1 is needed")
        super().__init__(Reconstruction(), KL())
        self.samples = samples

    def with_terms(self, *terms: Term) -> TextELBO:
        raise ValueError(
            "the importance-weighted bound is no sum of terms, so none can be added to it: add them to an ELBO, such "
            "as BetaELBO()"
        )

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any
    ) -> Tensor:
        draw = self.draw(model, guide, batch.repeat(self.samples), *args, **kwargs)
        log_weights = draw.log_weights().unflatten(0, (self.samples, len(batch)))
        with torch.no_grad():
            self.weigh(draw)  # fills the report
        loss = -importance_weighted(log_weights)
        self.report["loss"] = loss.detach().mean()
        return loss.sum()
