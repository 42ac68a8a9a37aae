import inspect
import math

import pytest
import torch
from small import MIXTURES, NOTHING_FREE, VOCABULARY, a_batch, a_size, options_of, random_batch, roughen

from pyro_textvae.encoders import NoEncoder, RecurrentEncoder
from pyro_textvae.objective import Objective, TextELBO
from pyro_textvae.posteriors import Gaussian, VonMisesFisherPosterior
from pyro_textvae.priors import StandardNormal, UniformSphere, VonMisesFisherMixture, WithClasses
from pyro_textvae.recipes import Recipe, compose, recipe, recipes
from pyro_textvae.size import Size
from pyro_textvae.terms import BetaELBO, FreeBits, Reconstruction
from pyro_textvae.vae import TextVAE

EVERY_RECIPE = pytest.mark.parametrize("name", list(recipes()))
CHANGES = [
    {},
    {"cell": "gru"},
    {"bidirectional": True},
    {"layers": 2},
    {"tied": True},
    {"z_enters": "state"},
    {"z_enters": "steps"},
    {"z_enters": "both"},
    {"initialisation": "he2019"},
    {"latent": 2},
    {"dropout": 0.3, "word_dropout": 0.3},
    {"cell": "gru", "bidirectional": True, "tied": True, "layers": 2, "initialisation": "he2019", "z_enters": "state"},
]


REFUSED = {
    ("lstm_lm", "cell", "gru"): "lstm_lm is an LSTM: leave 'cell' out",
    ("cnn_vae", "z_enters", "state"): "'z_enters' is 'state', but a convolution has none",
}
"""What a recipe cannot be: (recipe, size's field, value) and what it says."""


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "-".join(map(str, changes.values())) or "plain")
@EVERY_RECIPE
def test_every_parameter_of_every_recipe_gets_a_gradient_from_its_own_objective(name, changes):
    said = [REFUSED[name, field, value] for field, value in changes.items() if (name, field, value) in REFUSED]
    if said:
        with pytest.raises(ValueError, match=said[0]):
            recipes()[name](a_size(**changes))
        return
    made = recipes()[name](a_size(**changes), **NOTHING_FREE.get(name, {}))
    if name == "delta_vae":  # small weights leave each rectified mean dark for all sentences, or lit for all
        roughen(made.vae)
    objective = Objective(made.vae, made.objective)
    # Two batches: in a small network one may happen to leave a rectified unit dark.
    loss = objective(a_batch(), 1) + objective(random_batch(16, words=VOCABULARY), 2)
    assert loss.isfinite()
    loss.backward()
    dark = [key for key, p in made.vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert dark == []
    assert all(p.grad.isfinite().all() for p in made.vae.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", [name for name in recipes() if "variables" in recipes().options(name)])
def test_every_mixture_takes_several_variables(name):
    made = recipes()[name](a_size(), variables=3, components=4, **NOTHING_FREE.get(name, {}))
    loss = Objective(made.vae, made.objective)(a_batch(), 1)
    loss.backward()
    prior = made.vae.prior
    assert isinstance(prior, WithClasses)
    assert (prior.variables, prior.components) == (3, 4)
    assert name not in MIXTURES or prior.code == 3 * 3
    assert prior.sample(2, component=3, variable=1).shape == (2, prior.code)
    assert [key for key, p in made.vae.named_parameters() if p.grad is None or not p.grad.any()] == []


@EVERY_RECIPE
def test_every_recipe_evaluates_a_single_sentence_of_a_single_word(name):
    made = recipes()[name](a_size())
    made.vae.eval()
    assert Objective(made.vae, made.objective)(a_batch([[4]]), 0).isfinite()


@EVERY_RECIPE
def test_every_recipe_samples_and_scores_codes_of_its_prior(name):
    prior = recipes()[name](a_size(), **options_of(name, variables=3)).vae.prior
    code = prior.sample(7)
    assert code.shape == (7, prior.code)
    assert prior.log_prob(code).shape == (7,)


@EVERY_RECIPE
def test_every_recipe_says_in_a_line_what_it_is_and_has_a_default_for_every_option(name):
    summary = recipes().summary(name)
    assert 20 < len(summary) < 120 and summary.endswith(".")
    assert inspect.Parameter.empty not in recipes().options(name).values()
    assert next(iter(inspect.signature(recipes()[name]).parameters)) == "size"


def test_the_names_that_people_write_scripts_against_are_there():
    assert set(recipes()) >= {
        "lstm_lm", "ae", "vae", "annealed_vae", "cyclic_vae", "beta_vae", "free_bits_vae", "skip_vae", "cnn_vae",
        "bn_vae", "bn_both_vae", "delta_vae", "vmf_vae", *MIXTURES,
    }  # fmt: skip
    assert len(recipes()) == len(list(recipes()))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("dem_vea", "dem_vae"), ("bnvae", "bn_vae"), ("annealed", "annealed_vae"), ("lstmlm", "lstm_lm")],
)
def test_a_misspelt_recipe_is_refused_with_the_one_that_was_meant_and_all_there_are(wrong, right):
    with pytest.raises(
        ValueError, match=rf"unknown recipe '{wrong}' \(did you mean '{right}'\?\); the recipes are: .*vae"
    ):
        recipes()[wrong]
    assert wrong not in recipes() and right in recipes()


# One's own


def test_a_recipe_of_ones_own_is_a_function_in_ones_own_file():
    @recipe
    def my_vae(size: Size, floor: float = 0.5) -> Recipe:
        """VAE with free bits and a fixed penalty, from outside the package (me, today)."""
        return compose(size, objective=TextELBO(Reconstruction(), FreeBits(nats=floor)))

    try:
        assert "my_vae" in recipes()
        assert recipes().options("my_vae") == {"floor": 0.5}
        made = recipes()["my_vae"](a_size(), floor=1.0)
        optimiser = torch.optim.Adam(made.vae.parameters(), lr=0.02)
        objective, losses = Objective(made.vae, made.objective), []
        for step in range(20):
            optimiser.zero_grad()
            loss = objective(a_batch(), step)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        assert objective.elbo.report["free_bits"] >= 3 * 1.0 - 1e-6
    finally:
        del recipes()._known["my_vae"]
    assert "my_vae" not in recipes()


def test_what_a_composition_leaves_out_is_the_plain_vaes():
    made = compose(a_size())
    assert isinstance(made.vae.posterior, Gaussian)
    assert isinstance(made.vae.prior, StandardNormal)
    assert isinstance(made.objective, BetaELBO)


# What each changes


def weights_of(made: Recipe, steps: list[int]) -> list[float]:
    """The weight of the KL at some steps."""
    objective = Objective(made.vae, made.objective)
    weights = []
    for step in steps:
        objective(a_batch(), step)
        report = objective.elbo.report
        weights.append(((report["loss"] - report["reconstruction"]) / report["kl_z"]).item())
    return weights


def test_annealing_and_cycles_move_the_weight_of_the_kl():
    size = a_size()
    steps = [0, 50, 100, 300]
    assert weights_of(recipes()["vae"](size), steps) == pytest.approx([1, 1, 1, 1], abs=1e-3)
    assert weights_of(recipes()["beta_vae"](size, beta=0.3), steps) == pytest.approx([0.3] * 4, abs=1e-3)
    assert weights_of(recipes()["annealed_vae"](size, warm_up=100), steps) == pytest.approx([0, 0.5, 1, 1], abs=1e-3)
    assert weights_of(recipes()["cyclic_vae"](size, period=100), steps) == pytest.approx([0, 1, 0, 0], abs=1e-3)
    sigmoid = weights_of(recipes()["annealed_vae"](size, shape="sigmoid", warm_up=100), steps)
    assert sigmoid == pytest.approx([0.002, 0.5, 0.998, 1], abs=2e-3)


def test_a_language_model_has_neither_encoder_nor_code():
    made = recipes()["lstm_lm"](a_size())
    assert isinstance(made.vae.encoder, NoEncoder)
    assert made.vae.decoder.code == 0
    loss = Objective(made.vae, made.objective)(a_batch(), 0)
    assert loss.item() == pytest.approx(-made.objective.report["elbo"].item())
    assert not any(name.startswith("kl") for name in made.objective.report)


@pytest.mark.parametrize("prior", ["independent", "autoregressive"])
def test_no_sentence_of_a_delta_vae_has_less_than_its_committed_rate_under_either_prior(prior):
    made = recipes()["delta_vae"](a_size(latent=8), delta=0.2, prior=prior)
    objective = Objective(made.vae, made.objective)
    optimiser = torch.optim.Adam(made.vae.parameters(), lr=0.05)
    for step in range(40):  # no code helps to tell random words: the KL is pressed to its floor
        optimiser.zero_grad()
        batch = random_batch(16, seed=step, words=VOCABULARY)
        objective(batch, step).backward()
        optimiser.step()
        kl = made.objective.draw(made.vae.generative, made.vae.inference, batch).kl("z")
        assert (kl > 0.2 * 8 - 1e-5).all()
    assert kl.mean().item() < 0.2 * 8 * 1.5


@pytest.mark.parametrize("per", ["sentence", "dimension", "batch", "batch dimension"])
def test_free_bits_are_nats_a_sentence_whatever_they_are_counted_per_and_their_weight_may_rise(per):
    made = recipes()["free_bits_vae"](a_size(), nats=1e3, per=per, warm_up=10)
    for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (50, 1.0)):
        loss = Objective(made.vae, made.objective)(a_batch(), step)
        report = made.objective.report
        assert (loss - report["reconstruction"]).item() == pytest.approx(weight * 1e3, abs=0.01)
        assert report["elbo"].item() == pytest.approx(-(report["reconstruction"] + report["kl_z"]).item())


def test_the_output_layer_of_a_skip_vae_sees_the_code():
    plain, skip = (recipes()[name](a_size()).vae.decoder for name in ("vae", "skip_vae"))
    assert plain.output is not None and skip.output is not None
    assert (plain.output.in_features, skip.output.in_features) == (8, 8 + 3)


def test_a_cnn_vae_is_as_wide_as_asked_and_its_encoder_an_lstm():
    for width, blocks in (("small", 3), ("medium", 5), ("large", 10), ("very large", 15)):
        made = recipes()["cnn_vae"](a_size(cell=None), width=width)
        assert len(made.vae.decoder.start(torch.zeros(1, 3))) == blocks
        assert isinstance(made.vae.encoder.forwards, torch.nn.LSTM)


def test_the_three_mixtures_differ_in_what_is_given_back():
    losses = {}
    for name in MIXTURES:
        torch.manual_seed(0)
        made = recipes()[name](a_size(), components=4, warm_up=0)
        losses[name] = Objective(made.vae, made.objective)(a_batch(), 0).item()
        report = {key: value.item() for key, value in made.objective.report.items()}
        given_back = {"gm_vae": 0, "dgm_vae": 0.8 * report["dispersion"]}.get(
            name, 0.8 * report["dispersion"] + report.get("mutual_information", math.nan)
        )
        assert report["loss"] == pytest.approx(-report["elbo"] - given_back, rel=1e-5)
    assert losses["gm_vae"] > losses["dgm_vae"] > losses["dem_vae"]


def test_the_mixture_of_von_mises_fisher_components_is_one_of_dem_vaes_families():
    made = recipes()["dem_vae"](
        a_size(), family="vmf", variables=3, components=4, component_concentration=5.0, warm_up=0
    )
    assert isinstance(made.vae.prior, VonMisesFisherMixture)
    assert isinstance(made.vae.posterior.z_posterior, VonMisesFisherPosterior)
    assert made.vae.prior.concentration == 5
    Objective(made.vae, made.objective)(a_batch(), 0).backward()
    assert [key for key, p in made.vae.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("annealed_vae", {"shape": "cosine"}, "'shape' is 'cosine', but a warm-up is 'linear' or 'sigmoid'"),
        ("annealed_vae", {"shape": "sigmoid", "warm_up": 0}, "'warm_up' is 0, but it lasts at least one update"),
        ("cyclic_vae", {"period": 0}, "a cycle of 0 updates"),
        (
            "cnn_vae",
            {"width": "larg"},
            r"'width' is 'larg' \(did you mean 'large'\?\); it is one of small",
        ),
        ("bn_vae", {"gamma": 0.0}, "'gamma' is 0.0, but the scale of a batch-normalised mean is positive"),
        ("gm_vae", {"components": 1}, "'components' is 1, but a mixture has at least 2"),
        ("dgm_vae", {"dispersion": 1.5}, "'dispersion' is 1.5; it lies in 0"),
        (
            "dem_vae",
            {"family": "cauchy"},
            "'family' is 'cauchy', but components are 'gaussian', 'shared variance', 'full",
        ),
        ("dem_vae", {"family": "vfm"}, r"'family' is 'vfm' \(did you mean 'vmf'\?\), but components are"),
        ("dem_vae", {"family": "vmf", "gamma": 0.7}, "'gamma' was given, but family='vmf' has none: batch norm.*no"),
        ("dem_vae", {"concentration": 9.0}, "'concentration' was given, but family='gaussian' has none: a von.*'vmf'"),
        (
            "dem_vae",
            {"classes": 9},
            "only categorical components have classes of z. Leave it out or take 'categorical'",
        ),
        ("dem_vae", {"dispersion": 1.5}, "above 1, components that flee from each other lower the loss without bound"),
        ("dcm_vae", {"dispersion": 1.5}, "above 1, components that flee from each other lower the loss without bound"),
        ("dvmf_mixture_vae", {"dispersion": -0.5}, "'dispersion' is -0.5; it lies in 0"),
        ("dvmf_mixture_vae", {"concentrations": "free"}, "'concentrations' is 'free', but the components' are 'fixed'"),
        ("cm_vae", {"classes": 1}, "'classes' is 1, but a discrete variable has at least 2"),
        ("di_vae", {"classes": 1}, "'classes' is 1, but a discrete variable has at least 2"),
        ("dvae", {"temperature": 0.0}, "'temperature' is 0.0, but that of a Gumbel-softmax is positive"),
        ("semi_vae", {"temperature": -1.0}, "'temperature' is -1.0, but that of a Gumbel-softmax is positive"),
        ("semi_vae", {"components": 1}, "'components' is 1, but a mixture has at least 2"),
        ("free_bits_gm_vae", {"nats_of_c": -1.0}, "'nats_of_c' is -1.0, but what is free is finite and at least 0"),
        ("mop_gm_vae", {"components": 1}, "'components' is 1, but a mixture has at least 2"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        recipes()[name](a_size(), **options)


def test_compose_builds_the_model_that_it_is_told_to():
    class Own(TextVAE):
        pass

    made = compose(a_size(), prior=UniformSphere(3), build=Own)
    assert type(made.vae) is Own and isinstance(made.vae.prior, UniformSphere)
    assert isinstance(made.vae.encoder, RecurrentEncoder) and type(compose(a_size()).vae) is TextVAE


@pytest.mark.parametrize("name", list(recipes()))
def test_every_count_of_a_discrete_variable_is_checked_before_a_part_is_built_with_it(name):
    least = {"variables": 1, "components": 2, "classes": 2}
    for option, smallest in least.items():
        if option not in recipes().options(name):
            continue
        more = {"family": "categorical"} if (name, option) == ("dem_vae", "classes") else {}
        for wrong in (smallest - 1, -1, 2.5, "3", True):
            with pytest.raises(ValueError, match=f"'{option}' is {wrong!r}, but "):
                recipes()[name](a_size(), **more, **{option: wrong})
        recipes()[name](a_size(), **more, **{option: smallest})
