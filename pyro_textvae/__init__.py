"""Text VAEs as Pyro programs, which say when they collapse.

run = pyro_textvae.train(model="dem_vae")
run.verdict; run.metrics; run.sample(5); run.figures()
"""

from pyro_textvae.corpus import Corpus
from pyro_textvae.objective import Draw, Term, TextELBO
from pyro_textvae.recipes import Recipe, compose, recipe, recipes
from pyro_textvae.run import Run, load
from pyro_textvae.size import Size
from pyro_textvae.training import Training, train
from pyro_textvae.vae import TextVAE

__all__ = [
    "Corpus",
    "Draw",
    "Recipe",
    "Run",
    "Size",
    "Term",
    "TextELBO",
    "TextVAE",
    "Training",
    "compose",
    "load",
    "recipe",
    "recipes",
    "train",
]
