"""Distributions on the sphere, and the geometry of exponential families: torch and Pyro, nothing of text."""

from pyro_textvae_distributions.exponential_family import average, dispersion
from pyro_textvae_distributions.hyperspherical_uniform import HypersphericalUniform
from pyro_textvae_distributions.one_hots import Concatenated, GumbelSoftmax, OneHots
from pyro_textvae_distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "Concatenated",
    "GumbelSoftmax",
    "HypersphericalUniform",
    "OneHots",
    "VonMisesFisher",
    "average",
    "dispersion",
]
