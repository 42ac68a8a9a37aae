"""What a 2019 note on KL vanishing claims, on the embedded corpus: some seconds of training each (-m paper)."""

import math
from typing import Any

import pytest

pytestmark = pytest.mark.paper

SETTINGS: dict[str, Any] = dict(
    epochs=6, batch_size=64, hidden=64, latent=8, learning_rate=4e-3, progress=False, finish=False
)
KL, INFORMATION, GAP = (
    "valid_kl_nats_per_sentence",
    "valid_mutual_information_aggregate_nats",
    "valid_shuffled_z_gap_nats_per_sentence",
)


@pytest.mark.parametrize("nats", [1.5, 3.0])
def test_the_hinge_holds_the_kl_at_c(trained, nats):
    for row in trained("mi_constrained_vae", nats=nats).history[2:]:
        assert row["train_kl_z"] == pytest.approx(nats, abs=0.25)
        assert row[KL] == pytest.approx(nats, abs=0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_lambda_below_beta_does_not_escape_collapse(trained, seed):
    last = trained("mi_constrained_vae", nats=3.0, multiplier=0.3, seed=seed).history[-1]
    assert last[KL] < 0.1 and last[GAP] < 0.1


def test_but_where_words_pay_for_a_code_at_the_weight_that_is_left_one_below_beta_does_too(trained):
    """Below c it is the ELBO with the KL's weight beta - lambda, and at 0.2 this corpus pays: so does a beta-VAE."""
    last = trained("mi_constrained_vae", nats=3.0, multiplier=0.8).history[-1]
    assert last[INFORMATION] > 1.0 and last[GAP] > 2.0
    assert last[KL] < 3.0


def test_the_kl_is_c_before_there_is_information_in_it(trained):
    row = trained("mi_constrained_vae", nats=3.0).history[2]
    assert row[KL] > 2.5
    assert row[INFORMATION] < 0.5 and row[GAP] < 0.1


@pytest.mark.parametrize("dual", [dict(multiplier=2.0), dict(multiplier=0.0, dual_rate=0.01)])
def test_constrained_in_its_information_the_code_has_it_and_the_decoder_comes_to_read_it(trained, dual):
    history = trained("mi_constrained_vae", nats=2.0, constrained="information", **dual).history
    assert history[2][INFORMATION] > 1.5
    assert history[-1]["train_information"] == pytest.approx(2.0, abs=0.25)
    assert history[-1][GAP] > 2.0


def test_self_labelling_keeps_its_kl_and_loses_its_information(trained):
    """Its labels end as one for all, beside which the best posterior is Normal(0, 1/3), whatever the sentence."""
    last, predicted = trained("self_labelling_vae").history[-1], 8 * (1 / 3 - 1 - math.log(1 / 3)) / 2
    assert last["train_kl_z"] == pytest.approx(predicted, rel=0.05)
    assert last[KL] == pytest.approx(predicted, rel=0.2)  # after the last update, where that is the epoch's mean
    assert last[INFORMATION] < 0.1 and last[GAP] < 0.1
