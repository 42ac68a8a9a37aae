"""The verdict on really trained runs: the demo's, and small ones for what no run of the demo ends in.

What is done about a state is trained as well: advice that cures nothing is worse than none.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from pyro_textvae.demo import EXPERIMENTS, MODES_EXPERIMENTS
from pyro_textvae.evaluation import CollapseWarning
from pyro_textvae.evaluation.verdict import SHARE_OF_THE_CAP
from pyro_textvae.run import Run
from pyro_textvae.training import train


def trained(name: str, corpus: str, folder: Path) -> Run:
    experiment = next(each for each in EXPERIMENTS + MODES_EXPERIMENTS if (each.name, each.corpus) == (name, corpus))
    options = {**experiment.options, "progress": False, "finish": False, "output": folder / name}
    run = train(experiment.recipe, corpus, **options)
    run.evaluate("valid")
    return run


def test_a_gaussian_mixture_on_the_topics_loses_its_code(tmp_path):
    run = trained("gm_vae", "toy", tmp_path)
    assert run.verdict.state == "posterior collapse"
    assert run.metrics["valid"]["nll_elbo_above_entropy_nats_per_sentence"] < 1.0  # and is a good language model


def test_a_dispersed_mixture_with_mutual_information_is_healthy_on_the_topics(tmp_path):
    run = trained("dem_vae", "toy", tmp_path)
    valid = run.metrics["valid"]
    assert run.verdict.state == "healthy"
    assert valid["homogeneity_topic"] > 0.4 + valid["homogeneity_topic_chance"]


def test_a_gaussian_mixture_may_lose_its_modes_and_keep_its_code(tmp_path):
    run = trained("gm_vae", "toy-modes", tmp_path)
    assert run.verdict.state == "mode collapse"
    assert run.metrics["valid"]["kl_z_nats_per_sentence"] > 1.0


SMALL: dict[str, Any] = {
    "epochs": 6, "batch_size": 32, "embedding": 32, "hidden": 32, "learning_rate": 0.01, "warm_up": 100,
    "progress": False, "finish": False,
}  # fmt: skip
EIGHT_KINDS = [f"{word} {word} {word}" for word in "abcdefgh"] * 100
"""The code has ln 8 = 2.1 nats to tell, all of it in the first word: that is learnt in seconds."""
THOUSAND_KINDS = [f"{first} {then} {last}" for first in "abcdefghij" for then in "klmnopqrst" for last in "abcdefghij"]
"""6.9 nats to tell, more than the mutual information over the 100 of the validation split can show: ln 100 = 4.6."""


def small(texts: list[str], folder: Path, **options: Any) -> Run:
    """A `dem_vae`, mutual information included, trained in a few seconds and evaluated."""
    run = train("dem_vae", texts, output=folder / f"dispersion-{options['dispersion']}", **(SMALL | options))
    run.evaluate("valid")
    return run


def test_components_too_tight_to_be_reached_are_dead_and_dispersion_revives_them(tmp_path):
    # At the start, to mix them costs 12 nats and to take one of them ln 40 = 3.7: three of them have every sentence
    # after one epoch, and the others no gradient. Given back, the dispersion lets a sentence mix them until one fits.
    tight = {"family": "vmf", "latent": 8, "components": 40, "concentration": 100.0, "component_concentration": 20.0}
    dead = small(EIGHT_KINDS, tmp_path, **tight, dispersion=0.0)
    assert dead.verdict.state == "dead components", dead.verdict
    assert dead.metrics["valid"]["information_c_nats"] > 0.5  # those that live do tell sentences apart
    revived = small(EIGHT_KINDS, tmp_path, **tight, dispersion=0.8)
    assert revived.verdict.state == "healthy", revived.verdict
    assert revived.metrics["valid"]["components_in_use"] > 2 * dead.metrics["valid"]["components_in_use"]


MANY_VARIABLES = {"latent": 4, "variables": 10, "components": 5}
"""Their dispersion is a sum over variables: 8 nats before the first update."""


def test_components_whose_dispersion_is_wholly_given_back_are_over_dispersed_and_come_back_at_less(tmp_path):
    # At 1.0 the loss does not feel how far apart the components are that a sentence mixes; at 0.8, a fifth of it.
    apart = small(EIGHT_KINDS, tmp_path, **MANY_VARIABLES, dispersion=1.0)
    assert apart.verdict.state == "over-dispersed", apart.verdict
    assert apart.metrics["valid"]["dispersion_nats_per_sentence"] > 8.0
    back = small(EIGHT_KINDS, tmp_path, **MANY_VARIABLES, dispersion=0.8)
    assert back.verdict.state == "healthy", back.verdict


def test_a_dispersion_that_no_code_is_worth_is_found_where_the_information_is_at_its_cap(tmp_path):
    # A long warm-up, so that the code tells what it can before the KL counts: the dispersion ends at 100 nats.
    run = small(THOUSAND_KINDS, tmp_path, **MANY_VARIABLES, dispersion=1.0, epochs=12, warm_up=400)
    valid = run.metrics["valid"]
    assert valid["mutual_information_aggregate_nats"] > SHARE_OF_THE_CAP * math.log(100)
    assert run.verdict.state == "over-dispersed", run.verdict


def test_an_unhealthy_run_without_progress_ends_in_a_warning(tmp_path):
    texts = [f"{word} {other}" for word in "abcdefgh" for other in "stuvwxyz"]
    with pytest.warns(CollapseWarning, match="posterior collapse"):
        train("vae", texts, epochs=1, hidden=8, latent=2, output=tmp_path / "vae", progress=False)
