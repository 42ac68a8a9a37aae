"""The public door to the distributions: `from pyro_textvae.distributions import VonMisesFisher`."""

from pyro_textvae_distributions import HypersphericalUniform, VonMisesFisher, average, dispersion

__all__ = ["HypersphericalUniform", "VonMisesFisher", "average", "dispersion"]
