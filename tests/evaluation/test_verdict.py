import math

import pytest

from pyro_textvae.evaluation import judge

VAE = {
    "kl_nats_per_sentence": 6.0, "kl_z_nats_per_sentence": 6.0, "nll_elbo_nats_per_sentence": 40.0,
    "shuffled_z_gap_nats_per_sentence": 12.0, "mutual_information_aggregate_nats": 5.0,
    "mutual_information_sentences": 3000.0, "latent_dimensions": 16.0, "active_units": 9.0,
}  # fmt: skip
MIXTURE = VAE | {
    "components": 10.0, "discrete_variables": 1.0, "component_pairwise_kl_in_use_nats": 8.0, "information_c_nats": 1.8,
    "entropy_c_nats": 2.0, "components_in_use": 7.4, "dispersion_nats_per_sentence": 0.6,
}  # fmt: skip

CASES = {
    "a VAE that reads its code": (VAE, {}, "healthy"),
    "a mixture that reads its code": (MIXTURE, {}, "healthy"),
    "KL and gap both nothing": (
        VAE, {"kl_nats_per_sentence": 0.02, "shuffled_z_gap_nats_per_sentence": 0.001}, "posterior collapse"),
    "KL and gap both next to nothing": (
        VAE, {"kl_nats_per_sentence": 0.3, "shuffled_z_gap_nats_per_sentence": 0.35}, "posterior collapse"),
    "a weak code that is read": (
        VAE, {"kl_nats_per_sentence": 0.9, "shuffled_z_gap_nats_per_sentence": 1.2}, "healthy"),
    "next to no KL, and a gap within its noise": (
        VAE, {"kl_nats_per_sentence": 0.02, "shuffled_z_gap_nats_per_sentence": 0.57,
              "shuffled_z_gap_standard_error": 0.55}, "posterior collapse"),
    "a small KL, and a gap above its noise": (
        VAE, {"kl_nats_per_sentence": 0.4, "shuffled_z_gap_nats_per_sentence": 0.57,
              "shuffled_z_gap_standard_error": 0.05}, "healthy"),
    "a constant KL and no gap": (VAE, {"shuffled_z_gap_nats_per_sentence": -0.01}, "posterior collapse"),
    "merged components": (
        MIXTURE, {"component_pairwise_kl_in_use_nats": 0.004, "information_c_nats": 0.01, "components_in_use": 9.9},
        "mode collapse"),
    "merged components with a c that still tells": (
        MIXTURE, {"component_pairwise_kl_in_use_nats": 0.02}, "mode collapse"),
    "components apart that all sentences share": (
        MIXTURE, {"information_c_nats": 0.03, "components_in_use": 9.8}, "mode collapse"),
    "one component in use": (
        MIXTURE, {"components_in_use": 1.1, "information_c_nats": 0.05}, "dead components"),
    "half of the components in use": (MIXTURE, {"components_in_use": 5.0}, "healthy"),
    "a dispersion above what the code tells": (
        MIXTURE, {"dispersion_nats_per_sentence": 15.0}, "over-dispersed"),
    "a large dispersion that the code is worth": (MIXTURE, {"dispersion_nats_per_sentence": 4.0}, "healthy"),
    "a large dispersion where the information is at its cap": (
        MIXTURE, {"dispersion_nats_per_sentence": 9.0, "mutual_information_aggregate_nats": 7.9}, "healthy"),
    "a dispersion above what the wrong code costs, the information at its cap": (
        MIXTURE, {"dispersion_nats_per_sentence": 15.0, "mutual_information_aggregate_nats": 7.9}, "over-dispersed"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_state_has_its_rule(case: str):
    metrics, change, state = CASES[case]
    verdict = judge(metrics | change)
    assert verdict.state == state, str(verdict)
    assert verdict.reasons and verdict.advice


def test_a_language_model_and_an_autoencoder_have_no_code_to_judge():
    lm = judge({"reconstruction_nats_per_sentence": 40.0, "kl_nats_per_sentence": 0.0})
    ae = judge({"latent_dimensions": 16.0, "shuffled_z_gap_nats_per_sentence": 20.0})
    assert lm.state == ae.state == "no code" and lm.reasons != ae.reasons


def test_the_numbers_that_decided_stand_in_the_reasons():
    text = str(judge(VAE | {"kl_nats_per_sentence": 0.034, "shuffled_z_gap_nats_per_sentence": 0.011}))
    assert "0.03 nats" in text and "0.01 nats" in text and "try: " in text
    assert "7.84" in str(judge(VAE | {"shuffled_z_gap_nats_per_sentence": 0.0, "kl_floor_nats_per_sentence": 7.84}))


def test_a_collapsed_code_comes_first_and_what_else_is_wrong_is_named():
    verdict = judge(
        MIXTURE
        | {
            "shuffled_z_gap_nats_per_sentence": 0.0,
            "kl_nats_per_sentence": 0.01,
            "component_pairwise_kl_in_use_nats": 0.0,
        }
    )
    assert verdict.state == "posterior collapse"
    assert any("also mode collapse" in reason for reason in verdict.reasons)


def test_of_several_variables_it_says_how_many_merged():
    merged = MIXTURE | {"discrete_variables": 20.0, "component_pairwise_kl_in_use_nats": 0.0}
    some = str(judge(merged | {"variables_apart": 5.0}))
    assert "mode collapse" in some and "of 15 of 20 variables coincide" in some and "in the median variable" in some
    assert "the components in use coincide" in str(judge(merged | {"variables_apart": 0.0}))


def test_a_gap_that_too_few_sentences_measured_is_not_said_to_show_anything():
    measured = VAE | {"shuffled_z_gap_nats_per_sentence": 1.5, "shuffled_z_gap_standard_error": 1.25}
    assert "1.50 ± 1.25 nats" in str(judge(measured)) and "too few sentences" in str(judge(measured))
    assert "it reads the code" in str(judge(measured | {"shuffled_z_gap_standard_error": 0.25}))


UNREAD = {"shuffled_z_gap_nats_per_sentence": 0.0}
NO_KL = UNREAD | {"kl_nats_per_sentence": 0.01}
BAG = {"perplexity_corpus_elbo": 900.0}
MERGED = {"component_pairwise_kl_in_use_nats": 0.0}


@pytest.mark.parametrize(
    ("metrics", "settings", "said", "unsaid"),
    [
        (VAE | UNREAD, {"word_dropout": 0.0, "z_enters": "state"}, "word_dropout=0.3", "concentration"),
        (VAE | UNREAD, {"word_dropout": 0.5, "z_enters": "state"}, "'word_dropout' above 0.5", "0.3"),
        (VAE | UNREAD, {"word_dropout": 0.0, "z_enters": "both"}, "smaller 'hidden'", "both"),
        (VAE | UNREAD, {"word_dropout": 1.0, "z_enters": "both"}, "the decoder sees nothing but the code", "dropout"),
        (VAE | UNREAD, {"word_dropout": 1.0, "concentration": 80.0}, "more 'concentration'", "dropout"),
        (VAE | UNREAD | BAG, {"recipe": "g_nvdm", "word_dropout": 0.0}, "sees nothing but the code", "dropout"),
        (VAE | NO_KL, {"recipe": "vae", "word_dropout": 1.0}, "bn_vae", "dropout"),
        (VAE | NO_KL, {"recipe": "bn_vae", "word_dropout": 0.0}, "cyclic_vae", "bn_vae"),
        (VAE | NO_KL, {"recipe": "nvrnn", "word_dropout": 1.0}, "vmf_nvrnn", "bn_vae"),
        (VAE | NO_KL, {"concentration": 80.0, "concentrations": "softplus"}, "concentrations='fixed'", "bn_vae"),
        (VAE | NO_KL | BAG, {"recipe": "g_nvdm", "word_dropout": 0.0}, "v_nvdm", "bn_vae"),
        (VAE | NO_KL | BAG, {"recipe": "v_nvdm", "concentration": 0.1}, "more 'concentration'", "bn_vae"),
        (MIXTURE | MERGED, {"recipe": "dgm_vae", "dispersion": 0.2}, "more 'dispersion'", "dem_vae"),
        (MIXTURE | {"dispersion_nats_per_sentence": 7.0}, {"mutual_information": 0.0}, "more 'mutual_info", "less"),
        (VAE | BAG, {"recipe": "g_nvdm"}, "unigram and lda", "lstm_lm"),
        (VAE, {"recipe": "nvrnn", "label": "stars", "bag_of_words": False}, "'nvrnn_lm' told the same", "lstm_lm"),
        (VAE, {"recipe": "bow_vae", "bag_of_words": 1.0}, "'lstm_lm'", "nvrnn_lm"),
    ],
)
def test_advice_is_possible_for_the_run_at_hand(metrics, settings, said, unsaid):
    advice = judge(metrics, settings).advice
    assert said in advice and unsaid not in advice, advice


def test_a_verdict_stands_without_the_metrics_of_rules_that_do_not_apply():
    assert judge({"latent_dimensions": 4.0, "kl_nats_per_sentence": 3.0}).state == "healthy"
    assert judge({"latent_dimensions": 4.0, "kl_nats_per_sentence": 0.0}).state == "posterior collapse"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_verdict_stands_on_a_number_that_is_not_finite(value: float):
    with pytest.raises(ValueError, match="shuffled_z_gap"):
        judge(VAE | {"shuffled_z_gap_nats_per_sentence": value})
