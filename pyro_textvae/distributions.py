"""The public door to the distributions: `from pyro_textvae.distributions import VonMisesFisher`."""

from pyro_textvae_distributions import (
    AutoregressiveBernoulli,
    Concatenated,
    GumbelSoftmax,
    HypersphericalUniform,
    OneHots,
    VonMisesFisher,
    average,
    dispersion,
)

__all__ = [
    "AutoregressiveBernoulli",
    "Concatenated",
    "GumbelSoftmax",
    "HypersphericalUniform",
    "OneHots",
    "VonMisesFisher",
    "average",
    "dispersion",
]
