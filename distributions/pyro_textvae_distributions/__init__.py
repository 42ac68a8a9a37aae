"""Distributions on the sphere and of discrete vectors, and the geometry of exponential families; nothing of text."""

from pyro_textvae_distributions.autoregressive_bernoulli import AutoregressiveBernoulli
from pyro_textvae_distributions.exponential_family import average, dispersion
from pyro_textvae_distributions.hyperspherical_uniform import HypersphericalUniform
from pyro_textvae_distributions.one_hots import Concatenated, GumbelSoftmax, OneHots
from pyro_textvae_distributions.von_mises_fisher import VonMisesFisher

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
