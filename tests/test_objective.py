import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import ELBO, SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.optim.optim import PyroOptim
from scipy.special import ive
from small import MIXTURES, NOTHING_FREE, a_batch, a_size, gradients_of, options_of, random_batch, roughen
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.objective import Draw, Objective, Term, TextELBO
from pyro_textvae.posteriors import by_variable
from pyro_textvae.priors import AutoregressivePrior
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.schedules import Linear
from pyro_textvae.terms import KL, BetaELBO, FreeBits, Reconstruction
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE

# x stands outside the plate of variables, and Pyro cannot know that it depends on z alone, not on c.
of_one_code = pytest.mark.filterwarnings("ignore:.*possibly invalid dependency:RuntimeWarning")
WITHOUT_C = ["vae", "nvrnn", "skip_vae", "cnn_vae", "bn_vae", "bn_both_vae", "delta_vae", "vmf_vae"]
AUTOREGRESSIVE = {"prior": "autoregressive"}
without_c = pytest.mark.parametrize(
    ("name", "options"), [(name, {}) for name in WITHOUT_C] + [("delta_vae", AUTOREGRESSIVE)]
)


def plain_elbo() -> TextELBO:
    return TextELBO(Reconstruction(), KL())


def adam(lr: float) -> PyroOptim:
    return PyroOptim(torch.optim.Adam, {"lr": lr})


def rough(name: str, **options: Any) -> TextVAE:
    """A model in float64 whose parameters are no longer those of its birth."""
    vae = recipes()[name](a_size(), **options_of(name, **options)).vae
    roughen(vae)
    return vae.double()


def seeded(function: Callable[..., Any], *args: Any, seed: int = 7) -> Any:
    pyro.set_rng_seed(seed)
    return function(*args)


def reconstruction_by_hand(vae: TextVAE, code: Tensor, batch: Batch) -> Tensor:
    """-log p(x|z), a word at a time."""
    total = torch.zeros(len(batch), dtype=code.dtype)
    state = vae.decoder.start(code)
    for t in range(batch.inputs.size(1)):
        logits, state = vae.decoder.step(batch.inputs[:, t], code, state)
        chosen = logits.log_softmax(-1).gather(1, batch.targets[:, t : t + 1])[:, 0]
        total = total - chosen * (t < batch.lengths)
    return total


def gaussian_kl(m: Tensor, s: Tensor, mean: Tensor | float, scale: Tensor) -> Tensor:
    return ((scale / s).log() + (s**2 + (m - mean) ** 2) / (2 * scale**2) - 0.5).sum(-1)


def elbo_by_hand(name: str, vae: TextVAE, batch: Batch) -> Tensor:
    """Reconstruction + KL, summed over the sentences, of a model without c; z is drawn first, as in the guide."""
    posterior: Any = vae.posterior
    q = posterior.z(vae.encoder(batch))
    code = q.rsample()
    if name == "vmf_vae":
        d, kappa = code.size(-1), float(posterior.concentration)
        bessel = ive(d / 2 - 1, kappa)
        log_normaliser = (d / 2 - 1) * math.log(kappa) - d / 2 * math.log(2 * math.pi) - math.log(bessel) - kappa
        area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
        kl = torch.full((len(batch),), log_normaliser + kappa * ive(d / 2, kappa) / bessel + area, dtype=code.dtype)
    elif isinstance(vae.prior, AutoregressivePrior):
        distance = (torch.arange(3)[:, None] - torch.arange(3)).abs()
        chain = torch.distributions.MultivariateNormal(code.new_zeros(3), vae.prior.correlation**distance)
        factorised = torch.distributions.MultivariateNormal(q.base_dist.loc, torch.diag_embed(q.base_dist.variance))
        kl = torch.distributions.kl_divergence(factorised, chain)
    else:
        kl = gaussian_kl(q.base_dist.loc, q.base_dist.scale, 0.0, torch.ones(()))
    return (reconstruction_by_hand(vae, code, batch) + kl).sum()


def mixture_by_hand(vae: TextVAE, batch: Batch, exact: bool) -> Tensor:
    """The same of a Gaussian mixture, class by class; `exact` or with the KL of z at the drawn z."""
    posterior: Any = vae.posterior
    prior: Any = vae.prior
    features = vae.encoder(batch)
    log_q = by_variable(posterior.assignment(features), prior.variables).log_softmax(-1)  # (M, B, K)
    q = posterior.z(features)
    z = q.rsample()  # (M, B, D)
    m, s = q.base_dist.loc, q.base_dist.scale
    total = reconstruction_by_hand(vae, torch.cat(list(z), -1), batch).sum()
    for v in range(prior.variables):
        for k in range(prior.components):
            mean = prior.mean[v, k]
            scale = (3 * torch.tanh(prior.log_variance[v, k] / 6)).exp()
            if exact:
                kl_z = gaussian_kl(m[v], s[v], mean, scale)
            else:
                normal = torch.distributions.Normal
                kl_z = (normal(m[v], s[v]).log_prob(z[v]) - normal(mean, scale).log_prob(z[v])).sum(-1)
            total = total + (log_q[v, :, k].exp() * (log_q[v, :, k] + math.log(prior.components) + kl_z)).sum()
    return total


def assert_same_gradients(vae: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients_of(vae, ours), gradients_of(vae, theirs), rtol=1e-8, atol=1e-9)


# Oracles


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@without_c
def test_our_elbo_and_its_gradient_are_those_written_by_hand(name, options, training):
    vae, batch = rough(name, **options).train(training), a_batch()
    ours = seeded(plain_elbo().differentiable_loss, vae.model, vae.guide, batch)
    assert_same_gradients(vae, ours, seeded(elbo_by_hand, name, vae, batch))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@without_c
def test_our_elbo_and_its_gradient_are_those_of_pyros_mean_field_elbo(name, options, training):
    vae, batch = rough(name, **options).train(training), a_batch()
    ours = seeded(plain_elbo().differentiable_loss, vae.model, vae.guide, batch)
    pyros = TraceMeanField_ELBO(max_plate_nesting=MAX_PLATE_NESTING)
    assert_same_gradients(vae, ours, seeded(pyros.differentiable_loss, vae.model, vae.guide, batch))


@pytest.mark.parametrize("variables", [1, 3])
def test_a_mixtures_elbo_and_its_gradient_are_those_written_by_hand(variables):
    vae, batch = rough("gm_vae", variables=variables, components=4), a_batch()
    ours = seeded(plain_elbo().differentiable_loss, vae.model, vae.guide, batch)
    assert_same_gradients(vae, ours, seeded(mixture_by_hand, vae, batch, True))


@of_one_code
@pytest.mark.parametrize("variables", [1, 3])
def test_pyros_enumerating_elbo_is_ours_but_for_the_kl_of_z_at_the_drawn_z(variables):
    vae, batch = rough("gm_vae", variables=variables, components=4), a_batch()
    pyros = TraceEnum_ELBO(max_plate_nesting=MAX_PLATE_NESTING)
    theirs = seeded(pyros.differentiable_loss, vae.model, vae.guide, batch)
    assert_same_gradients(vae, seeded(mixture_by_hand, vae, batch, False), theirs)


@of_one_code
@pytest.mark.parametrize("variables", [1, 3])
def test_our_elbo_and_its_gradient_are_the_mean_of_pyros_enumerating_elbo(variables):
    vae, batch = rough("gm_vae", variables=variables, components=4), a_batch().repeat(20)
    elbos = plain_elbo(), TraceEnum_ELBO(max_plate_nesting=MAX_PLATE_NESTING)
    differences: list[Tensor] = []
    for seed in range(60):
        # The same seed draws the same z, so that only the KL differs.
        losses = [seeded(elbo.differentiable_loss, vae.model, vae.guide, batch, seed=seed) for elbo in elbos]
        ours, theirs = (
            torch.cat([loss[None], *(g.flatten() for g in gradients_of(vae, loss).values())]) for loss in losses
        )
        differences.append(theirs - ours)
    difference = torch.stack(differences)
    standard_error = difference.std(0) / len(difference) ** 0.5
    assert (standard_error > 1e-3).any()
    assert ((difference.mean(0).abs() - 5 * standard_error) < 1e-8).all()


def test_two_discrete_sites_one_below_the_other_are_summed_out_exactly():
    q_c = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])  # (B, C)
    q_d = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])  # (C, D): q(d|c)
    p_d = torch.tensor([[0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])
    mean = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.3]])
    m, s = torch.tensor([0.1, -0.4, 1.2]), torch.tensor([0.5, 1.0, 0.7])

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            c = pyro.sample("c", dist.Categorical(torch.full((2,), 0.5)))
            d = pyro.sample("d", dist.Categorical(p_d[c]))
            z = pyro.sample("z", dist.Normal(mean[c, d], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(len(batch)))

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            c = pyro.sample("c", dist.Categorical(q_c), infer={"enumerate": "parallel"})
            pyro.sample("d", dist.Categorical(q_d[c]), infer={"enumerate": "parallel"})
            pyro.sample("z", dist.Normal(m, s))

    batch = a_batch([[4], [5], [6]])
    draw = plain_elbo().draw(model, guide, batch)
    kl_c = (q_c * (q_c / 0.5).log()).sum(-1)
    kl_d = q_c @ (q_d * (q_d / p_d).log()).sum(-1)
    kl_z = torch.stack(
        [
            sum(
                (
                    q_c[b, c] * q_d[c, d] * gaussian_kl(m[b, None], s[b, None], mean[c, d], torch.ones(()))
                    for c in range(2)
                    for d in range(3)
                ),
                torch.zeros(()),
            )
            for b in range(3)
        ]
    )
    assert draw.enumerated == ["c", "d"]
    torch.testing.assert_close(draw.kl("c"), kl_c)
    torch.testing.assert_close(draw.kl("d"), kl_d)
    torch.testing.assert_close(draw.kl("z"), kl_z)


def test_any_distribution_that_enumerates_can_be_summed_out():
    p = torch.tensor([0.2, 0.7])

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            pyro.sample("z", dist.Normal(3 * c, 1.0))

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            pyro.sample("c", dist.Bernoulli(p), infer={"enumerate": "parallel"})
            pyro.sample("z", dist.Normal(torch.ones(2), 1.0))

    draw = plain_elbo().draw(model, guide, a_batch([[4], [5]]))
    torch.testing.assert_close(draw.kl("z"), (1 - p) * 0.5 + p * 2.0)


@pytest.mark.parametrize("variables", [1, 3])
def test_enumeration_runs_the_decoder_once_and_on_each_sentence_once(variables):
    vae, batch = rough("dem_vae", variables=variables, components=4), a_batch()
    rows: list[int] = []
    network: Any = vae.decoder.network
    network.register_forward_hook(lambda module, inputs, output: rows.append(len(output[0])))
    recipe = recipes()["dem_vae"](a_size(), variables=variables, components=4)
    Objective(vae, recipe.objective)(batch, 0).backward()
    assert rows == [len(batch)]


# Training


def losses_of(svi: Any, batch: Batch) -> list[float]:
    return [svi.step(batch) for _ in range(30)]


@of_one_code
@pytest.mark.parametrize(
    ("name", "options", "elbo"),
    [(name, {}, elbo) for name in ["lstm_lm", "ae", *WITHOUT_C] for elbo in (Trace_ELBO, TraceMeanField_ELBO)]
    + [("delta_vae", AUTOREGRESSIVE, elbo) for elbo in (Trace_ELBO, TraceMeanField_ELBO)]
    + [(name, {}, TraceEnum_ELBO) for name in MIXTURES],
)
def test_the_programs_train_under_pyros_own_elbos(name, options, elbo):
    vae, batch = recipes()[name](a_size(), **options).vae, a_batch()
    before = {key: parameter.detach().clone() for key, parameter in vae.named_parameters()}
    svi = SVI(vae.model, vae.guide, adam(0.02), loss=elbo(max_plate_nesting=MAX_PLATE_NESTING))
    losses = losses_of(svi, batch)
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    assert [key for key, parameter in vae.named_parameters() if torch.equal(parameter, before[key])] == []


@pytest.mark.parametrize("name", list(recipes()))
def test_svi_with_our_elbo_trains_every_parameter_of_every_recipe(name):
    recipe, batch = recipes()[name](a_size(), **NOTHING_FREE.get(name, {})), a_batch()
    before = {key: parameter.detach().clone() for key, parameter in recipe.vae.named_parameters()}
    svi = SVI(recipe.vae.model, recipe.vae.guide, adam(0.02), loss=recipe.objective)
    losses = losses_of(svi, batch)
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    assert [key for key, parameter in recipe.vae.named_parameters() if torch.equal(parameter, before[key])] == []
    assert len(dict(pyro.get_param_store().named_parameters())) == len(before)


@pytest.mark.parametrize("name", ["vae", "dem_vae"])
def test_svi_and_a_torch_optimiser_take_the_same_steps_to_the_bit(name):
    def fresh() -> Recipe:
        return seeded(recipes()[name], a_size())

    batch, ours, pyros = a_batch(), fresh(), fresh()
    optimiser = torch.optim.Adam(ours.vae.parameters(), lr=0.01)
    svi = SVI(pyros.vae.model, pyros.vae.guide, adam(0.01), loss=pyros.objective)
    for seed in range(5):
        optimiser.zero_grad()
        ours.objective.step = seed  # which SVI counts itself
        loss = seeded(ours.objective.differentiable_loss, ours.vae.generative, ours.vae.inference, batch, seed=seed)
        loss.backward()
        optimiser.step()
        assert seeded(svi.step, batch, seed=seed) == loss.item()
    for mine, theirs in zip(ours.vae.parameters(), pyros.vae.parameters(), strict=True):
        assert torch.equal(mine, theirs)


class Program(nn.Module):
    def __init__(self, part: nn.ModuleList, program: Callable[..., Any]) -> None:
        super().__init__()
        self.part, self.program = part, program

    def forward(self, batch: Batch) -> Any:
        return self.program(batch)


def test_called_with_two_modules_it_is_a_module_as_every_elbo_of_pyros_is():
    vae, batch = rough("dem_vae"), a_batch()
    model = Program(nn.ModuleList([vae.prior, vae.decoder]), vae.generative)
    guide = Program(nn.ModuleList([vae.encoder, vae.posterior]), vae.inference)
    loss_of = plain_elbo()(model, guide)
    assert set(loss_of.parameters()) == set(vae.parameters())
    loss = seeded(loss_of, batch)
    loss.backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())
    assert seeded(plain_elbo().loss, vae.model, vae.guide, batch) == pytest.approx(loss.item())


def test_the_objective_is_the_mean_over_the_sentences_at_a_step():
    vae, batch = rough("vae"), a_batch()
    objective = Objective(vae, BetaELBO(Linear(10)))
    loss = seeded(objective, batch, 5)
    report = objective.elbo.report
    torch.testing.assert_close(loss, report["reconstruction"] + 0.5 * report["kl_z"])
    torch.testing.assert_close(report["loss"], loss.detach())


def test_the_objective_owns_each_parameter_once():
    objective = Objective(rough("vae"), plain_elbo())
    assert all(name.startswith("vae.") for name in objective.state_dict())


@pytest.mark.parametrize("name", list(recipes()))
def test_autocast_to_bfloat16_leaves_densities_and_loss_in_float32(name):
    recipe, batch = recipes()[name](a_size()), a_batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = Objective(recipe.vae, recipe.objective)(batch, 1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()


# The report


def test_the_reported_elbo_is_the_true_one_whatever_the_weights():
    vae, batch = rough("gm_vae", variables=3), a_batch()
    elbos = [
        TextELBO(Reconstruction(), KL()),
        TextELBO(Reconstruction(0.1), KL(7.0)),
        TextELBO(Reconstruction(), FreeBits(1.0, 3.0)),
        TextELBO(KL(sites=("c",))),
    ]
    for elbo in elbos:
        seeded(elbo.loss, vae.model, vae.guide, batch)
    reports = [elbo.report for elbo in elbos]
    for report in reports:
        for name in ("reconstruction", "kl_c", "kl_z", "elbo"):
            torch.testing.assert_close(report[name], reports[0][name])
        total = report["reconstruction"] + report["kl_c"] + report["kl_z"]
        torch.testing.assert_close(report["elbo"], -total)
    torch.testing.assert_close(reports[0]["loss"], -reports[0]["elbo"])
    torch.testing.assert_close(
        reports[1]["loss"], 0.1 * reports[1]["reconstruction"] + 7 * (reports[1]["kl_c"] + reports[1]["kl_z"])
    )
    torch.testing.assert_close(reports[3]["loss"], reports[3]["kl_c"])


def test_the_report_names_each_part_and_holds_no_graph():
    recipe = recipes()["dem_vae"](a_size())
    recipe.objective.loss_and_grads(recipe.vae.model, recipe.vae.guide, a_batch())
    assert list(recipe.objective.report) == [
        "reconstruction", "kl_c", "kl_z", "elbo", "dispersion", "mutual_information", "loss",
    ]  # fmt: skip
    assert not any(value.requires_grad for value in recipe.objective.report.values())


def test_an_autoencoder_reports_that_it_has_no_bound():
    recipe = recipes()["ae"](a_size())
    loss = recipe.objective.loss(recipe.vae.model, recipe.vae.guide, a_batch())
    assert math.isfinite(loss)
    assert recipe.objective.report["elbo"] == -math.inf


def test_several_particles_are_averaged_in_loss_and_report():
    vae, batch = rough("vae"), a_batch()
    one, several = plain_elbo(), TextELBO(Reconstruction(), KL(), num_particles=3)
    pyro.set_rng_seed(0)
    singles = [one.loss(vae.model, vae.guide, batch) for _ in range(3)]
    pyro.set_rng_seed(0)
    assert several.loss(vae.model, vae.guide, batch) == pytest.approx(sum(singles) / 3)
    assert float(several.report["loss"]) == pytest.approx(sum(singles) / 3 / len(batch))


def test_svi_advances_the_step_and_evaluation_does_not():
    vae, batch = rough("vae"), a_batch()
    elbo = BetaELBO(Linear(4))
    svi = SVI(vae.model, vae.guide, adam(0.0), loss=elbo)
    weights = []
    for _ in range(6):
        svi.step(batch)
        svi.evaluate_loss(batch)
        step_weight = (elbo.report["loss"] - elbo.report["reconstruction"]) / elbo.report["kl_z"]
        weights.append(float(step_weight))
    assert elbo.step == 6
    assert weights == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], abs=1e-9)


class MyOwnPenalty(Term):
    def __call__(self, draw: Draw) -> Tensor:
        return draw.value("z").square().sum(-1)


def test_a_term_of_ones_own_is_reported_under_its_name_and_added():
    vae, batch = rough("vae"), a_batch()
    elbo = TextELBO(Reconstruction(), KL(), MyOwnPenalty(0.1))
    seeded(elbo.loss, vae.model, vae.guide, batch)
    report = elbo.report
    torch.testing.assert_close(report["loss"], -report["elbo"] + 0.1 * report["my_own_penalty"])


def test_an_objective_without_terms_is_refused():
    with pytest.raises(ValueError, match="an objective needs at least one term"):
        TextELBO()


# What a Draw refuses


def programs(
    model_sites: list[str], guide_sites: list[str], *, enumerate_c: bool = True, p_z: Any = None
) -> tuple[Callable[[Batch], None], Callable[[Batch], None]]:
    """A model and a guide that list their latent sites in the given orders."""

    def run(sites: list[str], batch: Batch, infer: Any, z: Any) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            for site in sites:
                pyro.sample(site, dist.Categorical(torch.ones(3)), infer=infer) if site == "c" else pyro.sample(site, z)

    def model(batch: Batch) -> None:
        run(model_sites, batch, {}, p_z or dist.Normal(0.0, 1.0))

    def guide(batch: Batch) -> None:
        run(guide_sites, batch, {"enumerate": "parallel"} if enumerate_c else {}, dist.Normal(torch.zeros(5), 1.0))

    return model, guide


def draw_of(model: Callable[..., Any], guide: Callable[..., Any]) -> Draw:
    return plain_elbo().draw(model, guide, a_batch())


@pytest.mark.parametrize(("model", "guide"), [(["c", "z"], ["z", "c"]), (["c", "z"], ["z"]), (["z"], ["z", "c"])])
def test_latent_sites_in_another_order_are_refused(model, guide):
    with pytest.raises(
        ValueError, match=r"latent sites are \['.*the guide's \['.*: they must be the same, in the same order"
    ):
        draw_of(*programs(model, guide))


def test_a_discrete_site_that_is_not_enumerated_is_refused_with_what_to_write():
    with pytest.raises(
        ValueError, match=r"site 'c' of the guide is a Categorical, .*: give it infer=\{\"enumerate\": \"parallel\"\}"
    ):
        draw_of(*programs(["c", "z"], ["c", "z"], enumerate_c=False))


@pytest.mark.parametrize("side", [0, 1], ids=["model", "guide"])
def test_a_scaled_site_is_refused(side):
    both = list(programs(["c", "z"], ["c", "z"]))
    both[side] = poutine.scale(both[side], scale=0.5)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="site 'c' is scaled; weigh the terms of the objective instead"):
        draw_of(*both)


def test_a_masked_site_is_refused():
    model, guide = programs(["z"], ["z"])
    masked: Any = torch.tensor([True, False, True, True, True])
    with pytest.raises(ValueError, match=r"site 'z' is masked; mask its distribution instead"):
        draw_of(poutine.mask(model, mask=masked), guide)


def test_a_kl_that_nobody_registered_is_refused_not_sampled():
    draw = draw_of(*programs(["z"], ["z"], p_z=dist.StudentT(3.0)))
    with pytest.raises(ValueError, match="site 'z' has q = Normal and p = StudentT, for which no KL is registered"):
        draw.kl("z")


def test_the_kl_of_an_unknown_site_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"site 'zz' has no KL \(did you mean 'z'\?\): the latent sites are \['c', 'z'\]"
    ):
        draw_of(*programs(["c", "z"], ["c", "z"])).kl("zz")


def test_the_kl_of_each_dimension_needs_independent_dimensions():
    vae = rough("vmf_vae")
    with pytest.raises(ValueError, match="site 'z' is a VonMisesFisher: its dimensions have no KL of their own"):
        draw_of(vae.model, vae.guide).kl_per_dimension()
    vae = rough("delta_vae", **AUTOREGRESSIVE)
    with pytest.raises(ValueError, match="site 'z' is a AutoregressiveNormal: its dimensions have no KL of their own"):
        draw_of(vae.model, vae.guide).kl_per_dimension()


@pytest.mark.parametrize(("name", "variables"), [("vae", 1), ("bn_vae", 1), ("gm_vae", 1), ("gm_vae", 3)])
def test_the_kl_of_each_dimension_sums_to_the_kl(name, variables):
    vae = rough(name, variables=variables)
    draw = draw_of(vae.model, vae.guide)
    per_dimension = draw.kl_per_dimension()
    assert per_dimension.shape == (5, 3 * variables)
    torch.testing.assert_close(per_dimension.sum(-1), draw.kl("z"))
    if variables > 1:
        # Variable after variable, as the code lists them.
        q, p, prior = draw.q("z"), draw.p("z"), draw.probabilities("c")
        first = (prior[:, 0, :, None] * torch.distributions.kl_divergence(q.base_dist, p.base_dist)[:, 0]).sum(0)
        torch.testing.assert_close(per_dimension[:, :3], first)


def test_a_code_that_depends_on_an_enumerated_class_is_refused_by_the_decoder():
    vae = rough("gm_vae")

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1), pyro.plate("variables", 1, dim=-2):
            c = pyro.sample("c", dist.Categorical(torch.ones(10)), infer={"enumerate": "parallel"})
            pyro.sample("z", dist.Normal(c[..., None].double() * torch.ones(3), 1.0).to_event(1))

    with pytest.raises(ValueError, match="z must not depend on an enumerated site in the guide"):
        draw_of(vae.model, guide)


def test_a_draw_knows_its_batch_values_and_classes():
    vae, batch = rough("gm_vae", variables=3, components=4), a_batch()
    draw = plain_elbo().draw(vae.model, vae.guide, batch)
    assert draw.batch is batch
    assert draw.latents == ["c", "z"] and draw.enumerated == ["c"]
    assert draw.value("c").flatten().tolist() == [0, 1, 2, 3]
    assert draw.value("z").shape == (3, 5, 3)
    assert draw.probabilities("c").shape == (4, 3, 5)
    torch.testing.assert_close(draw.probabilities("c").movedim(0, -1), draw.q("c").probs)


def test_our_elbo_is_one_of_pyros():
    assert isinstance(plain_elbo(), ELBO)


def test_a_large_random_batch_has_a_finite_loss_under_every_recipe():
    for name in recipes():
        recipe = recipes()[name](a_size(vocabulary=40))
        assert Objective(recipe.vae, recipe.objective)(random_batch(64), 1).isfinite(), name
