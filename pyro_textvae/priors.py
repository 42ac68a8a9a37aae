"""Priors: p(c) and p(z|c), the model's half. Each is a small Pyro program that returns the decoder's code.

Every prior also offers its marginal density `log_prob(code)` and `sample(n)`, for importance weighting and generation.
"""

import math
from abc import ABC, abstractmethod

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

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
    def sample(self, count: int, component: int | None = None) -> Tensor:
        """Draw (count, code) codes; from one component of a mixture where one is named."""

    def _refuse(self, component: int | None) -> None:
        if component is not None:
            raise ValueError(
                f"component={component} was asked for, but {type(self).__name__} has no components: leave it out, or "
                "train a mixture such as 'dem_vae'"
            )


class StandardNormal(Prior):
    """p(z) = Normal(0, I)."""

    zero: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.code = latent
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def density(self) -> dist.TorchDistribution:
        return dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)

    def forward(self, batch: Batch) -> Tensor:
        return pyro.sample("z", self.density())

    def log_prob(self, code: Tensor) -> Tensor:
        return self.density().log_prob(code)

    def sample(self, count: int, component: int | None = None) -> Tensor:
        self._refuse(component)
        return self.density().sample(torch.Size([count]))


class UniformSphere(StandardNormal):
    """p(z) uniform on the unit sphere of `latent` dimensions."""

    def density(self) -> dist.TorchDistribution:
        return HypersphericalUniform(self.code, device=self.zero.device)


class Mixture(Prior):
    """p(c) p(z|c): M independent variables, each a mixture of K components on D dimensions with p(c) = 1/K."""

    uniform: Tensor

    def __init__(self, latent: int, variables: int, components: int) -> None:
        super().__init__()
        if components < 2:
            raise ValueError(f"'components' is {components}, but a mixture has at least 2; for one, train 'vae'")
        if variables < 1:
            raise ValueError(f"'variables' is {variables}, but a mixture has at least one discrete variable")
        self.latent, self.variables, self.components = latent, variables, components
        self.code = variables * latent
        self.register_buffer("uniform", torch.zeros(components), persistent=False)

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

    def log_prob(self, code: Tensor) -> Tensor:
        z = code.unflatten(-1, (self.variables, -1)).movedim(-2, 0)  # (M, N, D)
        per_component = self.component(self.every()).log_prob(z)  # (K, M, N)
        return (per_component.logsumexp(0) - math.log(self.components)).sum(0)

    def means(self) -> Tensor:
        """Mean of every component, (M, K, D)."""
        return self.component(self.every()).mean.squeeze(-2).movedim(0, 1)

    def every(self) -> Tensor:
        """Every component's number, (K, 1, 1): as enumeration in parallel gives it to the model."""
        return torch.arange(self.components, device=self.uniform.device)[:, None, None]

    def sample(self, count: int, component: int | None = None) -> Tensor:
        """Draw codes; `component` fixes the class of every variable."""
        if component is None:
            c = torch.randint(self.components, (self.variables, count), device=self.uniform.device)
        elif 0 <= component < self.components:
            c = torch.full((self.variables, count), component, device=self.uniform.device)
        else:
            raise ValueError(f"component={component}, but the components are 0 to {self.components - 1}")
        return self.join(self.component(c).sample())

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
        self.log_variance = nn.Parameter(torch.zeros(variables, components, latent))

    def component(self, c: Tensor) -> dist.TorchDistribution:
        rows = self._rows(c)
        # tanh, not a clamp: a clamped variance would get no gradient back.
        log_variance = LOG_VARIANCE_LIMIT * torch.tanh(self.log_variance[rows] / LOG_VARIANCE_LIMIT)
        return dist.Normal(self.mean[rows], (0.5 * log_variance).exp()).to_event(1)


class VonMisesFisherMixture(Mixture):
    """von Mises-Fisher components on the unit sphere: learnt directions, one fixed concentration.

    Fixed, because the dispersion is then bounded by log-partition(concentration) - log-partition(0).
    """

    concentration: Tensor

    def __init__(self, latent: int, variables: int = 1, components: int = 10, concentration: float = 10.0) -> None:
        super().__init__(latent, variables, components)
        if not 0 < concentration < math.inf:
            raise ValueError(f"'component_concentration' is {concentration!r}, but it must be positive and finite")
        self.direction = nn.Parameter(torch.randn(variables, components, latent))
        self.register_buffer("concentration", torch.tensor(float(concentration)))

    def component(self, c: Tensor) -> dist.TorchDistribution:
        loc = F.normalize(self.direction[self._rows(c)], dim=-1)
        return VonMisesFisher(loc, self.concentration)


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

    def sample(self, count: int, component: int | None = None) -> Tensor:
        self._refuse(component)
        return self.nothing.expand(count, 0)
