"""The verdict on really trained runs: the demo's, known to have collapsed and known not to have."""

from pathlib import Path

import pytest

from pyro_textvae.demo import EXPERIMENTS, MODES_EXPERIMENTS
from pyro_textvae.evaluation import CollapseWarning
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


def test_an_unhealthy_run_without_progress_ends_in_a_warning(tmp_path):
    texts = [f"{word} {other}" for word in "abcdefgh" for other in "stuvwxyz"]
    with pytest.warns(CollapseWarning, match="posterior collapse"):
        train("vae", texts, epochs=1, hidden=8, latent=2, output=tmp_path / "vae", progress=False)
