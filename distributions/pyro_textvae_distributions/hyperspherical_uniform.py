"""The uniform distribution on the unit sphere."""

import operator
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyro_textvae_distributions._sphere import check_value, log_sphere_area


class HypersphericalUniform(TorchDistribution):
    """Uniform distribution on the unit sphere of R^dim, the prior of a vMF posterior.

    Event shape (dim,). It has no parameters, so `dtype` and `device` say what its draws are made of; both default
    to torch's own. Log densities are with respect to the surface measure, in nats. Raises ValueError for a dim that is
    no int or less than 2.

    >>> prior = HypersphericalUniform(3)
    >>> prior.sample((5,)).shape
    torch.Size([5, 3])
    >>> round(prior.entropy().exp().item() / torch.pi, 5)
    4.0
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]
    support = constraints.sphere  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: torch.Size | tuple[int, ...] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        try:
            self.dim = operator.index(dim)
        except TypeError:
            self.dim = 0
        if self.dim < 2:
            raise ValueError(f"'dim' is {dim!r}, but it must be an int of at least 2, the length of the vectors")
        # Holds dtype and device, and the batch shape of every result.
        self._zero = torch.zeros((), dtype=dtype, device=device).expand(batch_shape)
        super().__init__(torch.Size(batch_shape), torch.Size((self.dim,)), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Any = None) -> "HypersphericalUniform":
        new: Any = self._get_checked_instance(HypersphericalUniform, _instance)
        new.dim = self.dim
        new._zero = self._zero.expand(torch.Size(batch_shape))
        super(HypersphericalUniform, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dim}, batch_shape={tuple(self.batch_shape)})"

    @classmethod
    def infer_shapes(cls, dim: int, batch_shape: torch.Size | tuple[int, ...] = ()) -> tuple[torch.Size, torch.Size]:
        return torch.Size(batch_shape), torch.Size((dim,))

    @property
    def mean(self) -> Tensor:
        return self._zero[..., None].expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Of each coordinate: 1 / dim."""
        return self.mean + 1 / self.dim

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return torch.nn.functional.normalize(
            torch.randn(shape, dtype=self._zero.dtype, device=self._zero.device), dim=-1
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log surface area, of the shape that `value` and the batch shape broadcast to."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.zeros_like(value[..., 0]) - self.entropy()

    def entropy(self) -> Tensor:
        return self._zero + log_sphere_area(self.dim)

    def _validate_sample(self, value: Tensor) -> None:
        check_value(value, self.batch_shape, self.event_shape)
