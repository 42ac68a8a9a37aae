"""Pictures of a run. Each function takes a Run and returns a matplotlib Figure, never shown and unknown to pyplot.

training_curves   NLL, KL, information and active units over epochs
dispersion        whether a mixture's components stay apart, over epochs
latent_space      codes by label and by component, with the components' means
variables         the same of each of several discrete variables
through_training  the same at several epochs, of one run or of several, for runs trained with `watch`
sphere            codes on the sphere in three dimensions
sweep             dispersion, information and NLL against an option, over runs that differ in it
order_sensitivity how far codes turn when neighbouring words change places, of one run or of several
tradeoff          reconstruction and KL of several runs, as bars
concentration     cosine and KL of a von Mises-Fisher distribution, exactly; needs no run
perplexity_map    perplexity by concentration and setting, over many runs
compare           latent spaces of several runs on one scale; compare_table: their metrics
report.markdown   all of a run on one page
save_all          what of these a run can have, as PNG files
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_textvae.evaluation.codes import on_sphere
from pyro_textvae.figures.comparison import compare, compare_table
from pyro_textvae.figures.concentration import concentrated, concentration, perplexity_map
from pyro_textvae.figures.curves import dispersion, training_curves
from pyro_textvae.figures.latents import latent_space, variables
from pyro_textvae.figures.order import order_sensitivity
from pyro_textvae.figures.points import WATCHED
from pyro_textvae.figures.sphere import sphere
from pyro_textvae.figures.style import corpus_of, save
from pyro_textvae.figures.sweep import sweep
from pyro_textvae.figures.tradeoff import tradeoff
from pyro_textvae.figures.watching import through_training
from pyro_textvae.priors import Mixture

if TYPE_CHECKING:
    from pyro_textvae.run import Run

__all__ = [
    "training_curves",
    "dispersion",
    "latent_space",
    "variables",
    "through_training",
    "sphere",
    "sweep",
    "order_sensitivity",
    "tradeoff",
    "concentration",
    "concentrated",
    "perplexity_map",
    "compare",
    "compare_table",
    "save_all",
]


def save_all(run: "Run") -> list[Path]:
    """Write every picture that the run can have into its figures/ and return their paths.

    A run of texts in memory, opened again, has no texts left to encode: its latent pictures stay as they are, and a
    warning says so.
    """
    folder = run.directory / "figures"
    prior = run.vae.prior
    drawing = []
    if run.history:
        drawing.append(training_curves)
        if isinstance(prior, Mixture):
            drawing.append(dispersion)
    if (run.directory / WATCHED).is_dir():
        drawing.append(through_training)
    if prior.code and has_texts(run):
        drawing.append(latent_space)
        if isinstance(prior, Mixture) and prior.variables > 1:
            drawing.append(variables)
        if on_sphere(run.vae) and run.recipe["size"]["latent"] == 3:
            drawing.append(sphere)
    elif prior.code:
        warnings.warn(
            f"{run.directory}: the run does not keep its texts, so its latent space is not drawn again", stacklevel=2
        )
    return [save(draw(run), folder / f"{draw.__name__}.png") for draw in drawing]


def has_texts(run: "Run") -> bool:
    """Whether the corpus is open or can be opened again."""
    return "corpus" in run.__dict__ or corpus_of(run)["data"] is not None
