"""Priors: p(c) and p(z|c), the model's half. Each is a small Pyro program that returns the decoder's code.

Every prior also offers its marginal density `log_prob(code)` and `sample(n)`, for importance weighting and generation.
"""

import math
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, constraints, register_kl
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.distributions import AutoregressiveBernoulli, HypersphericalUniform, OneHots, VonMisesFisher

LOG_VARIANCE_LIMIT = 6.0
"""Bound on a component's |log variance|: free ones overflow natural parameters (|log variance| > 88 is NaN)."""


class Prior(nn.Module, ABC):
    """p(z) on codes of `code` numbers."""

    code: int

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Sample the latent sites and return the code, (B, code); to be run inside the plate of sentences."""

    @abstractmethod
    def log_prob(self, code: Tensor) -> Tensor:
        """Marginal log p(z) of codes (N, code), in nats, (N,)."""

    @abstractmethod
    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        """Draw (count, code) codes; from one component of a mixture where one is named, of one variable or of all."""

    def on_support(self, code: Tensor) -> Tensor:
        """Codes (N, code), such as posterior means, moved to the nearest that this prior may give."""
        return code

    def _refuse(self, component: int | None, variable: int | None) -> None:
        for name, value in (("component", component), ("variable", variable)):
            if value is not None:
                raise ValueError(
                    f"{name}={value} was asked for, but {type(self).__name__} has no components: leave it out, or "
                    "train a mixture such as 'dem_vae'"
                )


class OfOneDensity(Prior):
    """p(z) that is one distribution, whatever the sentence, without components."""

    @abstractmethod
    def density(self) -> dist.TorchDistribution:
        """p(z), batch shape ()."""

    def forward(self, batch: Batch) -> Tensor:
        return pyro.sample("z", self.density())

    def log_prob(self, code: Tensor) -> Tensor:
        return self.density().log_prob(code)

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        self._refuse(component, variable)
        return self.density().sample(torch.Size([count]))


class StandardNormal(OfOneDensity):
    """p(z) = Normal(0, I)."""

    zero: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.code = latent
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def density(self) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)


class UniformSphere(StandardNormal):
    """p(z) uniform on the unit sphere of `latent` dimensions."""

    def density(self) -> dist.TorchDistribution:
        return HypersphericalUniform(self.code, device=self.zero.device)

    def on_support(self, code: Tensor) -> Tensor:
        """Means on a sphere lie inside it, and move out."""
        return F.normalize(code, dim=-1)


class BinaryPrior(OfOneDensity):
    """p(z) of `latent` binary variables, learnt, each of which may depend on those before it (Mnih & Gregor 2014).

    It begins with even chances and connections of 0.
    """

    def __init__(self, latent: int, autoregressive: bool = True) -> None:
        super().__init__()
        self.code = latent
        self.bias = nn.Parameter(torch.zeros(latent))
        self.connections = nn.Parameter(torch.zeros(latent, latent)) if autoregressive else None

    def density(self) -> AutoregressiveBernoulli:
        return AutoregressiveBernoulli(self.bias, self.connections)

    def on_support(self, code: Tensor) -> Tensor:
        """Probabilities become the likelier of 0 and 1."""
        return (code > 0.5).to(code.dtype)


class AutoregressiveNormal(dist.TorchDistribution):
    """z_1 ~ Normal(0, 1), z_i ~ Normal(r z_{i-1}, 1 - r^2): a chain of `length` numbers, each Normal(0, 1) by itself.

    `correlation` r, of a number with the next, has the batch shape; the event shape is (length,).
    """

    arg_constraints: dict[str, constraints.Constraint] = {"correlation": constraints.interval(-1, 1)}
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, correlation: Tensor, length: int, validate_args: bool | None = None) -> None:
        self.correlation = correlation
        super().__init__(correlation.shape, torch.Size([length]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "AutoregressiveNormal":
        return AutoregressiveNormal(self.correlation.expand(batch_shape), self.event_shape[0], validate_args=False)

    @property
    def innovation(self) -> Tensor:
        """Standard deviation of what is new in each number after the first."""
        return (1 - self.correlation.square()).sqrt()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        first, *new = torch.randn(shape, dtype=self.correlation.dtype, device=self.correlation.device).unbind(-1)
        chain = [first]
        for noise in new:
            chain.append(self.correlation * chain[-1] + self.innovation * noise)
        return torch.stack(chain, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        correlation, innovation = self.correlation.unsqueeze(-1), self.innovation.unsqueeze(-1)
        following = dist.Normal(correlation * value[..., :-1], innovation).log_prob(value[..., 1:]).sum(-1)
        return following + dist.Normal(torch.zeros_like(correlation), 1.0).log_prob(value[..., :1]).squeeze(-1)


@register_kl(Independent, AutoregressiveNormal)
def _kl_independent_autoregressive(q: Independent, p: AutoregressiveNormal) -> Tensor:
    """KL in nats from numbers that are independent normals to a chain."""
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    mean, variance = q.base_dist.loc, q.base_dist.variance
    new = (1 - p.correlation.square()).unsqueeze(-1)
    r = p.correlation.unsqueeze(-1)
    first = mean[..., 0].square() + variance[..., 0]
    squares = (mean[..., 1:] - r * mean[..., :-1]).square() + variance[..., 1:] + r.square() * variance[..., :-1]
    following = (squares / new + new.log()).sum(-1)
    return 0.5 * (first + following - variance.log().sum(-1) - variance.size(-1))


class AutoregressivePrior(StandardNormal):
    """p(z) = AutoregressiveNormal, so correlated that no posterior of independent numbers comes nearer than delta
    nats a number (Razavi et al. 2019).

    The committed rate, the least KL, is ((D - 2) ln(1 + r^2) - ln(1 - r^2)) / 2 for a chain of D numbers; r is solved
    for so that it is delta D. The original has latents at every time step, a chain in each of their dimensions, with
    other correlations, and an auxiliary prior learnt afterwards to sample from; here the chain is the `latent` numbers
    of one sentence, with one correlation, and samples come from the chain itself.
    """

    correlation: Tensor

    def __init__(self, latent: int, delta: float = 0.1) -> None:
        super().__init__(latent)
        self.register_buffer("correlation", torch.tensor(committed_correlation(delta, latent)))

    def density(self) -> dist.TorchDistribution:
        return AutoregressiveNormal(self.correlation, self.code)

    def kl_floor(self) -> Tensor:
        """The least KL of a posterior whose numbers are independent and normal, nats a sentence."""
        return committed_rate(self.correlation.double().square(), self.code)


LEAST_NEW = 1e-5
"""Share of a number's variance that is new in the chain, below which float32 no longer tells 1 - r^2 from 0."""


def committed_rate(squared_correlation: Tensor, length: int) -> Tensor:
    """Least KL from independent normals to an AutoregressiveNormal of `length` numbers, in nats."""
    return 0.5 * ((length - 2) * squared_correlation.log1p() - (-squared_correlation).log1p())


def committed_correlation(delta: float, length: int) -> float:
    """The positive r whose committed rate is `delta` nats for each of `length` numbers, by bisection of r^2.

    Raises ValueError for a chain of one, and for a delta that no chain of this length commits to in float32.
    """
    if length < 2:
        raise ValueError(f"'latent' is {length}, but an autoregressive prior is a chain of at least 2 numbers")
    most = committed_rate(torch.tensor(1 - LEAST_NEW, dtype=torch.float64), length).item() / length
    if not 0 < delta <= most:
        raise ValueError(
            f"'delta' is {delta!r}, but a chain of {length} numbers commits to more than 0 and at most {most:.2f} nats "
            "for each of them"
        )
    low, high = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for _ in range(60):  # halvings: to the last digit
        middle = (low + high) / 2
        low, high = (middle, high) if committed_rate(middle, length) < delta * length else (low, middle)
    return low.sqrt().item()


class WithClasses(Prior):
    """A prior with `variables` M discrete variables of `components` K classes each, all equally probable.

    They are a mixture's c, or the code itself, or a part of it.
    """

    uniform: Tensor

    def __init__(self, variables: int, components: int) -> None:
        super().__init__()
        if components < 2:
            raise ValueError(f"'components' is {components}, but a mixture has at least 2; for one, train 'vae'")
        if variables < 1:
            raise ValueError(f"'variables' is {variables}, but a mixture has at least one discrete variable")
        self.variables, self.components = variables, components
        self.register_buffer("uniform", torch.zeros(components), persistent=False)

    def classes(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        """Draw classes (M, count); `component` fixes that of every variable, or of `variable` alone."""
        c = torch.randint(self.components, (self.variables, count), device=self.uniform.device)
        if component is None and variable is not None:
            raise ValueError(f"variable={variable} came without a component of it: name one")
        for name, value, many in (("component", component, self.components), ("variable", variable, self.variables)):
            if value is not None and not (isinstance(value, Integral) and 0 <= value < many):
                raise ValueError(f"{name}={value}, but the {name}s are 0 to {many - 1}")
        if component is not None:
            c[slice(None) if variable is None else variable] = component
        return c


class UniformOneHots(WithClasses):
    """p(z) of a discrete code: M variables of K equally probable classes each, as one-hots, M K numbers."""

    def __init__(self, variables: int, components: int) -> None:
        super().__init__(variables, components)
        self.code = variables * components

    def density(self) -> dist.TorchDistribution:
        return OneHots(self.uniform.expand(self.variables, -1))

    def forward(self, batch: Batch) -> Tensor:
        return pyro.sample("z", self.density())

    def log_prob(self, code: Tensor) -> Tensor:
        return self.density().log_prob(code)

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        return F.one_hot(self.classes(count, component, variable).T, self.components).flatten(1).to(self.uniform.dtype)

    def on_support(self, code: Tensor) -> Tensor:
        return nearest_one_hots(code, self.components)


def nearest_one_hots(code: Tensor, classes: int) -> Tensor:
    """Numbers (N, M K) to the one-hots of each variable's likeliest class."""
    return F.one_hot(code.unflatten(-1, (-1, classes)).argmax(-1), classes).flatten(-2).to(code.dtype)


class OneHotsBesideNormal(UniformOneHots):
    """p(c) p(z): M discrete variables as one-hots beside a z ~ Normal(0, I), independent; the code is [c, z]."""

    def __init__(self, latent: int, variables: int, components: int) -> None:
        super().__init__(variables, components)
        self.normal = StandardNormal(latent)
        self.widths = [variables * components, latent]
        self.code = sum(self.widths)

    def forward(self, batch: Batch) -> Tensor:
        c = pyro.sample("c", self.density())
        return torch.cat([c, self.normal(batch)], -1)

    def log_prob(self, code: Tensor) -> Tensor:
        c, z = code.split(self.widths, -1)
        return super().log_prob(c) + self.normal.log_prob(z)

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        return torch.cat([super().sample(count, component, variable), self.normal.sample(count)], -1)

    def on_support(self, code: Tensor) -> Tensor:
        c, z = code.split(self.widths, -1)
        return torch.cat([super().on_support(c), z], -1)


class Mixture(WithClasses):
    """p(c) p(z|c): M independent variables, each a mixture of K components on D dimensions with p(c) = 1/K."""

    def __init__(self, latent: int, variables: int, components: int) -> None:
        super().__init__(variables, components)
        self.latent = latent
        self.code = variables * latent

    @abstractmethod
    def component(self, c: Tensor) -> dist.TorchDistribution:
        """p(z|c) for component numbers c of shape (..., M or 1, B or 1): batch shape (..., M, B or 1), event (D,)."""

    def forward(self, batch: Batch) -> Tensor:
        with pyro.plate("variables", self.variables, dim=-2):
            c = pyro.sample("c", dist.Categorical(logits=self.uniform))
            z = pyro.sample("z", self.component(c))  # (M, B, D)
        return self.join(z)

    def join(self, z: Tensor) -> Tensor:
        """(M, B, D) to the decoder's code (B, M D)."""
        return z.movedim(-3, -2).flatten(-2)

    def divide(self, code: Tensor) -> Tensor:
        """The decoder's code (..., B, M D) to each variable's z, (..., M, B, D): `join` undone."""
        return code.unflatten(-1, (self.variables, -1)).movedim(-2, -3)

    def log_prob(self, code: Tensor) -> Tensor:
        z = self.divide(code)  # (M, N, D)
        return (self.log_prob_of_each(z).logsumexp(0) - math.log(self.components)).sum(0)

    def log_prob_of_each(self, z: Tensor) -> Tensor:
        """log p(z|c) of (..., M, N, D) under every component: (K, ..., M, N)."""
        every = torch.arange(self.components, device=z.device)
        return self.component(every.unflatten(0, (-1, *[1] * (z.dim() - 1)))).log_prob(z)

    def means(self) -> Tensor:
        """Mean of every component, (M, K, D)."""
        return self.component(self.every()).mean.squeeze(-2).movedim(0, 1)

    def every(self) -> Tensor:
        """Every component's number, (K, 1, 1): as enumeration in parallel gives it to the model."""
        return torch.arange(self.components, device=self.uniform.device)[:, None, None]

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        """Draw codes; `component` fixes the class of every variable, or of `variable` alone."""
        return self.join(self.component(self.classes(count, component, variable)).sample())

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(c|z) of (..., M, N, D), by Bayes' rule: (..., M, N, K)."""
        return self.log_prob_of_each(z).softmax(0).movedim(0, -1)

    def dispersion_bound(self) -> float:
        """The most that the dispersion of one sentence can be, in nats; infinite where components can flee."""
        return math.inf

    def _rows(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Index a table (M, K, ...) by variable and class."""
        return torch.arange(self.variables, device=c.device)[:, None], c


class GaussianMixture(Mixture):
    """Diagonal Gaussian components with learnt means and log variances (Shi et al. 2020)."""

    def __init__(self, latent: int, variables: int = 1, components: int = 10) -> None:
        super().__init__(latent, variables, components)
        # Mean square distance 4 between components whatever D is: in 16 dimensions N(0, I) means would lie so far
        # apart that q(c|x) falls into one of them at the first steps and stays.
        self.mean = nn.Parameter(torch.randn(variables, components, latent) * (2 / latent) ** 0.5)
        self.log_variance = nn.Parameter(torch.zeros(variables, self.own_variances, latent))

    @property
    def own_variances(self) -> int:
        """How many variances a variable's components have."""
        return self.components

    def component(self, c: Tensor) -> dist.TorchDistribution:
        # tanh, not a clamp: a clamped variance would get no gradient back.
        log_variance = LOG_VARIANCE_LIMIT * torch.tanh(self.log_variance / LOG_VARIANCE_LIMIT)
        scale = (0.5 * log_variance).exp().expand_as(self.mean)
        rows = self._rows(c)
        return dist.Normal(self.mean[rows], scale[rows]).to_event(1)


class SharedVarianceMixture(GaussianMixture):
    """Diagonal Gaussian components that share one learnt variance: their dispersion is the variance of their means, in
    its units, and their averaged prior lies at the mean of their means."""

    @property
    def own_variances(self) -> int:
        return 1


class FullCovarianceMixture(Mixture):
    """Gaussian components with learnt means and full covariances, through their Cholesky factors.

    `factor` is what of it lies below the diagonal, whose logarithm is `log_variance` / 2.
    """

    below: Tensor

    def __init__(self, latent: int, variables: int = 1, components: int = 10) -> None:
        super().__init__(latent, variables, components)
        self.mean = nn.Parameter(torch.randn(variables, components, latent) * (2 / latent) ** 0.5)
        self.log_variance = nn.Parameter(torch.zeros(variables, components, latent))
        self.factor = nn.Parameter(torch.zeros(variables, components, latent * (latent - 1) // 2))
        self.register_buffer("below", torch.tril_indices(latent, latent, -1), persistent=False)

    def component(self, c: Tensor) -> dist.TorchDistribution:
        log_variance = LOG_VARIANCE_LIMIT * torch.tanh(self.log_variance / LOG_VARIANCE_LIMIT)
        scale_tril = (0.5 * log_variance).exp().diag_embed()
        scale_tril[..., self.below[0], self.below[1]] = self.factor
        rows = self._rows(c)
        return dist.MultivariateNormal(self.mean[rows], scale_tril=scale_tril[rows])


@register_kl(Independent, MultivariateNormal)
def _kl_independent_multivariate(q: Independent, p: MultivariateNormal) -> Tensor:
    """KL in nats from numbers that are independent normals to a multivariate normal."""
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    mean, scale = q.base_dist.loc, q.base_dist.scale
    root = p.scale_tril
    shape = torch.broadcast_shapes(mean.shape, root.shape[:-1])
    root = root.expand(shape + root.shape[-1:])
    away = torch.linalg.solve_triangular(root, (p.loc - mean).expand(shape)[..., None], upper=False).squeeze(-1)
    spread = torch.linalg.solve_triangular(root, scale.expand(shape).diag_embed(), upper=False)
    log_ratio = (root.diagonal(dim1=-2, dim2=-1).log() - scale.log()).sum(-1)
    return log_ratio + 0.5 * (away.square().sum(-1) + spread.square().sum((-2, -1)) - shape[-1])


class Marginal(dist.TorchDistribution):
    """p(z) of a mixture with c summed out; batch shape (M, 1), to be expanded to (M, B), event shape (D,)."""

    kl_by_sample = True
    """No KL to it has a closed form: `Draw` takes log q - log p at the drawn value."""
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, mixture: "Mixture", batch_shape: torch.Size, validate_args: bool | None = None) -> None:
        self.mixture = mixture
        super().__init__(batch_shape, torch.Size([mixture.latent]), validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.mixture.component(self.mixture.every()).support

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Marginal":
        return Marginal(self.mixture, torch.Size(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        log_p = self.mixture.log_prob_of_each(value)
        return log_p.logsumexp(0) - math.log(len(log_p))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        c = torch.randint(self.mixture.components, shape, device=self.mixture.uniform.device)
        return self.mixture.component(c).sample()


class MarginalGaussianMixture(GaussianMixture):
    """The same p(z) with c summed out: the programs have no site c, and which component z is of is p(c|z).

    So q(c|x) is the average of p(c|z) over q(z|x), and no network has to learn it. The KL to a mixture has no closed
    form: it is that of the drawn z.
    """

    def forward(self, batch: Batch) -> Tensor:
        with pyro.plate("variables", self.variables, dim=-2):
            return self.join(pyro.sample("z", Marginal(self, torch.Size([self.variables, 1]))))


class CategoricalMixture(Mixture):
    """Categorical components: z is `latent` one-hots of `classes` classes each, independent given c (Shi et al. 2020).

    The last class's logit is 0, so that the parameters are natural ones. Two classes are a Bernoulli variable.
    """

    def __init__(self, latent: int, variables: int = 1, components: int = 10, classes: int = 8) -> None:
        if classes < 2:
            raise ValueError(f"'classes' is {classes}, but a discrete variable has at least 2")
        super().__init__(latent * classes, variables, components)
        self.classes_of_z = classes
        self.logits = nn.Parameter(torch.randn(variables, components, latent, classes - 1))

    def component(self, c: Tensor) -> dist.TorchDistribution:
        return OneHots(F.pad(self.logits, (0, 1))[self._rows(c)])

    def on_support(self, code: Tensor) -> Tensor:
        return nearest_one_hots(code, self.classes_of_z)


class VonMisesFisherMixture(Mixture):
    """von Mises-Fisher components on the unit sphere: learnt directions, one fixed concentration.

    The dispersion is then bounded, by log-partition(concentration) - log-partition(0).
    """

    concentration: Tensor

    def __init__(self, latent: int, variables: int = 1, components: int = 10, concentration: float = 10.0) -> None:
        super().__init__(latent, variables, components)
        if not 0 < concentration < math.inf:
            raise ValueError(f"'component_concentration' is {concentration!r}, but it must be positive and finite")
        self.direction = nn.Parameter(torch.randn(variables, components, latent))
        self.register_buffer("concentration", torch.tensor(float(concentration)))
        self.number = float(concentration)  # the same as a number, which a density looks up once

    def component(self, c: Tensor) -> dist.TorchDistribution:
        loc = F.normalize(self.direction[self._rows(c)], dim=-1)
        return VonMisesFisher(loc, self.number)

    def on_support(self, code: Tensor) -> Tensor:
        return F.normalize(code.unflatten(-1, (self.variables, -1)), dim=-1).flatten(-2)

    def dispersion_bound(self) -> float:
        """M times how much the log-partition falls from the largest concentration to 0, where all components cancel."""
        pole = torch.eye(self.latent, dtype=torch.float64)[:1]
        some, none = (VonMisesFisher(pole, k).log_normalizer for k in (self.largest_concentration, 0.0))
        return self.variables * (some - none).item()

    @property
    def largest_concentration(self) -> float:
        return self.number


CONCENTRATION_RANGE = 3.0
"""How far the logarithm of a learnt concentration may move from where it began, either way: a factor of 20. Free ones
would grow as long as each sentence has a component of its own."""


class LearntVonMisesFisherMixture(VonMisesFisherMixture):
    """von Mises-Fisher components whose concentrations are learnt too, beginning at `concentration`."""

    def __init__(self, latent: int, variables: int = 1, components: int = 10, concentration: float = 10.0) -> None:
        super().__init__(latent, variables, components, concentration)
        self.log_factor = nn.Parameter(torch.zeros(variables, components))

    def component(self, c: Tensor) -> dist.TorchDistribution:
        rows = self._rows(c)
        factor = (CONCENTRATION_RANGE * torch.tanh(self.log_factor / CONCENTRATION_RANGE)).exp()
        return VonMisesFisher(F.normalize(self.direction[rows], dim=-1), self.concentration * factor[rows])

    @property
    def largest_concentration(self) -> float:
        return super().largest_concentration * math.exp(CONCENTRATION_RANGE)


class NoPrior(Prior):
    """For a language model without a code: no site, and a code of width 0."""

    nothing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.code = 0
        self.register_buffer("nothing", torch.zeros(0), persistent=False)  # knows the device

    def forward(self, batch: Batch) -> Tensor:
        return self.nothing.expand(len(batch), 0)

    def log_prob(self, code: Tensor) -> Tensor:
        return code.new_zeros(len(code))

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        self._refuse(component, variable)
        return self.nothing.expand(count, 0)
