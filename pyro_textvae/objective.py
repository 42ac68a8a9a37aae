"""The objective: a Draw from guide and model, the Terms that read it, and TextELBO, which weighs and sums them.

    guide + model  ->  Draw  ->  Term, Term, ...  ->  TextELBO  ->  Objective (an nn.Module to optimise)

The loss of TextELBO is a bound on -log p(x) only if it is the reconstruction plus every KL, each with weight 1. So the
true ELBO is always reported beside the loss, and the two never share a name.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.distributions import Categorical, Delta
from pyro.infer import ELBO
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence

from pyro_textvae.batch import Batch
from pyro_textvae.distributions import Concatenated, HypersphericalUniform, OneHots, VonMisesFisher
from pyro_textvae.errors import did_you_mean
from pyro_textvae.information import information_in_batch
from pyro_textvae.schedules import Weight, weight_at
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE


class Draw:
    """What one run of guide and model knows of a batch; everything per sentence, in nats, computed when asked for.

    Discrete sites that the guide enumerates are summed out exactly; z is one sample. Only towards a p that has no KL in
    closed form, and says so by `kl_by_sample`, is it that of the sample. The analytic KL of a site is
    exact only if what it depends on in the model is not drawn after it in the guide: guide and model must list their
    latent sites in one order.
    """

    def __init__(self, model_trace: Trace, guide_trace: Trace) -> None:
        self.model_trace, self.guide_trace = model_trace, guide_trace
        self._model: Mapping[str, Any] = model_trace.nodes
        self._guide: Mapping[str, Any] = guide_trace.nodes
        self.latents = [name for name, site in self._guide.items() if self._is_latent(site)]
        self._kl: dict[str, Tensor] = {}
        self._probabilities: dict[str, Tensor] = {}
        self._log_likelihood: Tensor | None = None
        self._information: Tensor | None = None
        self._check()

    @staticmethod
    def _is_latent(site: Any) -> bool:
        return site["type"] == "sample" and not site["is_observed"]

    def _check(self) -> None:
        in_model = [name for name, site in self._model.items() if self._is_latent(site)]
        if in_model != self.latents:
            raise ValueError(
                f"the model's latent sites are {in_model}, the guide's {self.latents}: they must be the same, in the "
                "same order, for their analytic KLs to be exact"
            )
        for name in self.latents:
            site = self._guide[name]
            known = "_enumerate_dim" in site["infer"] or name in self.by_score
            if not getattr(site["fn"], "has_rsample", False) and not known:
                raise ValueError(
                    f"site {name!r} of the guide is a {type(site['fn']).__name__}, which has no reparameterised sample "
                    'and is not enumerated: give it infer={"enumerate": "parallel"}, or infer={"score_function": True} '
                    "and an objective that takes gradients so, LeaveOneOutELBO"
                )
        for sites in (self._model, self._guide):
            for name, site in sites.items():
                if site["type"] == "sample" and not (isinstance(site["scale"], float | int) and site["scale"] == 1):
                    raise ValueError(f"site {name!r} is scaled; weigh the terms of the objective instead")
                if site["type"] == "sample" and site["mask"] is not None:
                    raise ValueError(f"site {name!r} is masked; mask its distribution instead, with .mask(...)")

    @property
    def batch(self) -> Batch:
        """The batch that model and guide were run on: their first argument."""
        return self._model["_INPUT"]["args"][0]

    def q(self, site: str) -> Any:
        """The guide's distribution at a site."""
        return self._guide[site]["fn"]

    def p(self, site: str) -> Any:
        """The model's distribution at a site; with an axis of K on the left where it depends on an enumerated c."""
        return self._model[site]["fn"]

    def value(self, site: str) -> Tensor:
        """The value drawn at a site; for an enumerated one, every value."""
        return self._guide[site]["value"]

    @property
    def enumerated(self) -> list[str]:
        """The discrete sites that are summed out."""
        return [name for name in self.latents if "_enumerate_dim" in self._guide[name]["infer"]]

    @property
    def by_score(self) -> list[str]:
        """The sites that say of themselves that their gradient is that of the score function: draws carry none."""
        return [name for name in self.latents if self._guide[name]["infer"].get("score_function")]

    @property
    def discrete(self) -> list[str]:
        """The sites whose values are classes: enumerated, or one-hots that the decoder sees."""
        return [site for site in self.latents if site in self.enumerated or isinstance(self.q(site), OneHots)]

    def enumeration_dim(self, site: str) -> int:
        """The (negative) axis of `site`'s values. Pyro keeps it under a private key, read here alone."""
        return self._guide[site]["infer"]["_enumerate_dim"]

    def probabilities(self, site: str) -> Tensor:
        """q(c|x) with its classes along the site's enumeration axis: (K, M, B)."""
        if site not in self._probabilities:
            self._probabilities[site] = self.q(site).log_prob(self.value(site)).exp()
        return self._probabilities[site]

    def expect(self, cost: Tensor) -> Tensor:
        """The expectation of a cost under q of every enumerated site whose axis it has."""
        for site in reversed(self.enumerated):
            dim = self.enumeration_dim(site)
            if cost.dim() >= -dim:
                cost = (self.probabilities(site) * cost).sum(dim)
        return cost

    def per_sentence(self, cost: Tensor) -> Tensor:
        """Sum what stands left of the sentences (the discrete variables): (..., B) to (B,)."""
        cost = self.expect(cost)
        return cost.flatten(0, -2).sum(0) if cost.dim() > 1 else cost.expand(len(self.batch))

    def log_likelihood(self) -> Tensor:
        """log p(x|z) at the drawn z, (B,)."""
        if self._log_likelihood is None:
            observed = [s for s in self._model.values() if s["type"] == "sample" and s["is_observed"]]
            self._log_likelihood = torch.stack(
                [self.per_sentence(site["fn"].log_prob(site["value"])) for site in observed]
            ).sum(0)
        return self._log_likelihood

    def kl(self, site: str) -> Tensor:
        """KL from q to p at a site, analytic, in expectation over the enumerated sites: (B,)."""
        if site not in self._kl:
            if site not in self.latents:
                raise ValueError(
                    f"site {site!r} has no KL{did_you_mean(site, self.latents)}: the latent sites are {self.latents}"
                )
            self._kl[site] = self.per_sentence(self._divergence(self.q(site), self.p(site), site))
        return self._kl[site]

    def kl_per_variable(self, site: str) -> Tensor:
        """KL of each discrete variable's part of a site under the plate of variables: (M, B)."""
        cost = self.expect(self._divergence(self.q(site), self.p(site), site))
        return cost.expand(-1, len(self.batch)) if cost.dim() > 1 else cost.expand(1, len(self.batch))

    def information(self) -> Tensor:
        """log q(z|x) - log q(z) at the drawn z, q(z) the mean of q(z|x) over the batch: (B,), nats.

        z is all continuous sites together. The mean is an estimate of I(x;z): at most ln B, and no more in expectation
        than the true one.
        """
        if self._information is None:
            sites = [site for site in self.latents if site not in self.discrete]
            parts = [self.q(site) for site in sites]
            if not parts or any(isinstance(part, Delta) for part in parts):
                raise ValueError(
                    "the information in the batch is that of a continuous z with a density, of which there is none "
                    "here: of a discrete code it is the term MutualInformation; an autoencoder's is infinite"
                )
            z = torch.cat([self.value(site) for site in sites], -1)
            q = Concatenated(parts) if len(parts) > 1 else parts[0]
            self._information = information_in_batch(q, z).to(z.dtype)
        return self._information

    def log_weights(self) -> Tensor:
        """log p(x|z) + log p(z) - log q(z|x) at the drawn z: (B,), nats. Its exp has mean p(x).

        Raises ValueError where a draw is no point with a density, or carries no gradient: a discrete site, summed out,
        relaxed or drawn for a score, and an autoencoder's code.
        """
        refused = {*self.discrete, *self.by_score}
        wrong = [site for site in self.latents if site in refused or isinstance(self.q(site), Delta)]
        if wrong:
            raise ValueError(
                f"site {wrong[0]!r} is a {_named(self.q(wrong[0]))}, but importance weights need a z drawn from a "
                "density: take a Gaussian or a von Mises-Fisher posterior, without discrete variables"
            )
        weights = self.log_likelihood()
        for site in self.latents:
            z = self.value(site)
            weights = weights + self.per_sentence(self.p(site).log_prob(z) - self.q(site).log_prob(z))
        return weights

    def log_classes(self, site: str) -> Tensor:
        """log q of the classes of a site's M discrete variables, enumerated or as one-hots: (M, B, K)."""
        q = self.q(site)
        if isinstance(q, OneHots):
            return q.logits.movedim(-2, -3).flatten(0, -3)  # of several one-hots for each of M, all in one row
        if isinstance(q, Categorical):
            log_q = q.logits - q.logits.logsumexp(-1, keepdim=True)
            return log_q if log_q.dim() > 2 else log_q[None]
        raise ValueError(f"site {site!r} is a {type(q).__name__}, which has no classes: train a mixture or 'di_vae'")

    def kl_per_dimension(self, site: str = "z") -> Tensor:
        """KL of each dimension of a site whose dimensions are independent: (B, D), or (B, M D)."""
        q, p = self.q(site), self.p(site)
        for side in (q, p):
            if not isinstance(side, Independent):
                raise ValueError(f"site {site!r} is a {type(side).__name__}: its dimensions have no KL of their own")
        cost = self._divergence(q.base_dist, p.base_dist, site).movedim(-1, 0)  # dimensions to the left
        cost = torch.stack([self.expect(dimension) for dimension in cost], -1)  # (B, D) or (M, B, D)
        return cost.movedim(-2, 0).flatten(1)

    def _divergence(self, q: Any, p: Any, site: str) -> Tensor:
        if isinstance(q, Delta):
            # A point mass has no density: its KL to any density is infinite, and so is an autoencoder's bound.
            return torch.full(q.batch_shape, torch.inf, device=q.v.device)
        if getattr(p, "kl_by_sample", False):
            z = self.value(site)
            return q.log_prob(z) - p.log_prob(z)
        try:
            return kl_divergence(q, p)
        except NotImplementedError as error:
            on_sphere = [isinstance(side, VonMisesFisher | HypersphericalUniform) for side in (q, p)]
            discrete = [isinstance(side, OneHots) for side in (q, p)]
            if len(set(on_sphere)) == 2 or len(set(discrete)) == 2:
                reason = (
                    "; these live on different sets (a sphere, one-hots, or all of space), so one has no density where "
                    "the other lies and the KL is infinite: take posterior and components of one kind"
                )
            else:
                reason = ", for which no KL is registered: register one with torch.distributions.register_kl"
            raise ValueError(f"site {site!r} has q = {_named(q)} and p = {_named(p)}{reason}") from error


def _named(distribution: Any) -> str:
    inside = getattr(distribution, "base_dist", distribution)
    return type(inside).__name__


@dataclass(frozen=True)
class Term(ABC):
    """A pure function of a Draw to nats per sentence, (B,), with a weight that may be a schedule.

    `sign` is +1 for what the loss adds (a cost) and -1 for what it takes off (a reward). A term holds no parameters.
    """

    sign: ClassVar[int] = 1
    in_elbo: ClassVar[bool] = False
    """Whether the report already holds its value as a part of the ELBO."""

    weight: Weight = 1.0

    @property
    def name(self) -> str:
        """The term's name in reports: the class's, in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()

    @abstractmethod
    def __call__(self, draw: Draw) -> Tensor: ...

    def check_batches(self, sentences: int) -> None:  # noqa: B027, most terms take any batch
        """Called by `train()` before it begins: refuse what no batch of at most so many sentences can give."""


def importance_weighted(log_weights: Tensor) -> Tensor:
    """logsumexp over the S samples less log S: (S, B) to (B,), at most log p(x) in expectation (Burda et al. 2016)."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


class TextELBO(ELBO):
    """Sum of weighted terms, for any model and guide whose discrete latent sites the guide enumerates.

    An ELBO in Pyro's sense: give it to `pyro.infer.SVI`, or call it with two modules. It runs the guide and the model
    once, so the decoder runs once, sums enumerated sites out exactly and uses analytic KLs.

    After each evaluation `report` holds means over the sentences, in nats, as tensors: "reconstruction", "kl_z" (one
    for each site), "elbo" (the true one: minus the reconstruction and all KLs, whatever the weights), every other
    term under its name, and "loss".
    """

    def __init__(self, *terms: Term, num_particles: int = 1, max_plate_nesting: int = MAX_PLATE_NESTING) -> None:
        if not terms:
            raise ValueError("an objective needs at least one term: TextELBO(Reconstruction(), KL()) is the ELBO")
        super().__init__(num_particles=num_particles, max_plate_nesting=max_plate_nesting)
        self.terms = terms
        self.step: float = 0
        """The update that schedules are evaluated at; the training loop sets it, SVI advances it."""
        self.report: dict[str, Tensor] = {}

    def with_terms(self, *terms: Term) -> "TextELBO":
        """The same objective with more terms."""
        return TextELBO(
            *self.terms,
            *terms,
            num_particles=self.num_particles,
            max_plate_nesting=int(self.max_plate_nesting),
        )

    def draw(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Draw:
        """Run guide and model once."""
        return Draw(*self._get_trace(model, guide, args, kwargs))

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        first = -1 - int(self.max_plate_nesting)
        guide_trace = poutine.trace(poutine.enum(guide, first_available_dim=first)).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(poutine.enum(replayed, first_available_dim=first)).get_trace(*args, **kwargs)
        return prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace)

    def weigh(self, draw: Draw) -> Tensor:
        """The loss of each sentence, (B,); fills `report`."""
        loss = torch.zeros(())
        extra: dict[str, Tensor] = {}
        for term in self.terms:
            value = term(draw)
            loss = loss + term.sign * weight_at(term.weight, self.step) * value
            if not term.in_elbo:
                extra[term.name] = value.detach().mean()
        report = {"reconstruction": -draw.log_likelihood().detach().mean()}
        report |= {f"kl_{site}": draw.kl(site).detach().mean() for site in draw.latents}
        elbo = -torch.stack(list(report.values())).sum()
        self.report = report | {"elbo": elbo} | extra | {"loss": loss.detach().mean()}
        return loss

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss, summed over the sentences as Pyro's ELBOs do, differentiable."""
        if self.num_particles == 1:  # nothing to average: at small sizes the kernels for that would show
            return self._of_draw(self.draw(model, guide, *args, **kwargs))
        losses: list[Tensor] = []
        reports: list[dict[str, Tensor]] = []
        for _ in range(self.num_particles):
            losses.append(self._of_draw(self.draw(model, guide, *args, **kwargs)))
            reports.append(self.report)
        self.report = _mean_report(reports)
        return torch.stack(losses).mean()

    def _of_draw(self, draw: Draw) -> Tensor:
        if draw.by_score and torch.is_grad_enabled():
            raise ValueError(
                f"draws at {draw.by_score} carry no gradient, and {type(self).__name__} would train their guide "
                "wrongly: take LeaveOneOutELBO"
            )
        return self.weigh(draw).sum()

    @torch.no_grad()
    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        self.step += 1
        return loss.item()


def _mean_report(reports: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([report[name] for report in reports]).mean() for name in reports[0]}


class LeaveOneOutELBO(TextELBO):
    """The same bound for a guide whose one latent site is discrete and not summed out: its gradient is the score
    function's, each of `num_particles` S >= 2 draws with the mean cost of the others as its baseline.

    With cost f(z) of a sentence, in nats, and S draws z_s from q(z|x):

        gradient = mean over s of   (f(z_s) - mean of f over the other draws) grad log q(z_s|x)  +  grad f(z_s)

    The baseline is independent of z_s, so the estimate is unbiased, and there is nothing to tune or to learn beside the
    model (Kool et al. 2019; VIMCO, Mnih & Rezende 2016, has such baselines for another bound). NVIL (Mnih & Gregor
    2014) needs a network for its baselines, running moments of the costs and their rates. The guide runs once a batch,
    the model S times. Every term has to be of one sentence, not of the batch.
    Raises ValueError for fewer than 2 draws, and for a guide of other sites.
    """

    def __init__(self, *terms: Term, num_particles: int = 4, max_plate_nesting: int = MAX_PLATE_NESTING) -> None:
        if num_particles < 2:
            raise ValueError(f"{num_particles} draws came, but leaving one out needs at least 2")
        super().__init__(*terms, num_particles=num_particles, max_plate_nesting=max_plate_nesting)

    def draws(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Iterator[Draw]:
        """Draws from one run of the guide."""
        first = self.draw(model, guide, *args, **kwargs)
        if len(first.latents) != 1 or first.by_score != first.latents:
            raise ValueError(
                f"the guide's latent sites are {first.latents}, and {first.by_score} of them by score function: "
                'LeaveOneOutELBO takes one site, with infer={"score_function": True}'
            )
        yield first
        (site,) = first.latents
        for _ in range(self.num_particles - 1):
            drawn = first.guide_trace.copy()
            nodes: Any = drawn.nodes
            nodes[site] = nodes[site] | {"value": first.q(site).sample()}
            replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
            yield Draw(prune_subsample_sites(replayed), drawn)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        costs, log_q, reports = [], [], []
        for draw in self.draws(model, guide, *args, **kwargs):
            (site,) = draw.latents
            costs.append(self.weigh(draw))
            log_q.append(draw.q(site).log_prob(draw.value(site)))
            reports.append(self.report)
        self.report = _mean_report(reports)
        return leave_one_out(torch.stack(costs), torch.stack(log_q)).mean(0).sum()

    def with_terms(self, *terms: Term) -> "LeaveOneOutELBO":
        nesting = int(self.max_plate_nesting)
        return LeaveOneOutELBO(*self.terms, *terms, num_particles=self.num_particles, max_plate_nesting=nesting)


def leave_one_out(costs: Tensor, log_q: Tensor) -> Tensor:
    """Costs (S, B) of S draws as they are, with the gradient of their expectation: that of `LeaveOneOutELBO`.

    log_q (S, B) is the log-probability of each draw.
    """
    others = (costs.sum(0) - costs) / (len(costs) - 1)
    return costs + (costs - others).detach() * (log_q - log_q.detach())


class Objective(nn.Module):
    """A TextVAE and its objective as one module with one owner of the parameters: what an optimiser minimises."""

    def __init__(self, vae: TextVAE, elbo: TextELBO) -> None:
        super().__init__()
        self.vae, self.elbo = vae, elbo

    def forward(self, batch: Batch, step: float) -> Tensor:
        """The mean loss of a batch at a training step, nats per sentence."""
        self.elbo.step = step
        return self.elbo.differentiable_loss(self.vae.generative, self.vae.inference, batch) / len(batch)
