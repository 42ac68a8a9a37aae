"""The reported bounds against log p(x) that is known: probabilistic PCA, and small language models by quadrature."""

import math
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch, Batches
from pyro_textvae.corpus import EOS, Split
from pyro_textvae.decoders import DilatedDecoder
from pyro_textvae.evaluation import evaluate, likelihood
from pyro_textvae.evaluation.codes import draw_codes, evaluating, posterior_of
from pyro_textvae.evaluation.likelihood import importance_weighted_nll, log_weights
from pyro_textvae.objective import TextELBO, importance_weighted
from pyro_textvae.posteriors import (
    BatchNormalisedMean,
    BatchNormBothGaussian,
    Gaussian,
    OneHotPosterior,
    VonMisesFisherPosterior,
)
from pyro_textvae.priors import (
    AutoregressivePrior,
    CategoricalMixture,
    FullCovarianceMixture,
    GaussianMixture,
    LearntVonMisesFisherMixture,
    MarginalGaussianMixture,
    Mixture,
    OneHotsBesideNormal,
    SharedVarianceMixture,
    StandardNormal,
    UniformOneHots,
    UniformSphere,
    VonMisesFisherMixture,
)
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.terms import KL, BetaELBO, Reconstruction, ReleasedEstimator
from pyro_textvae.vae import TextVAE


def split_of(sentences: list[list[int]]) -> Split:
    offsets = np.cumsum([0, *map(len, sentences)])
    return Split(np.array([word for sentence in sentences for word in sentence], np.int32), offsets.astype(np.int64))


# --- probabilistic PCA: sentence i stands for the point x_i, p(x|z) = Normal(W z, noise^2 I), log p(x) in closed form


class Points(nn.Module):
    """Encoder: the point that each sentence stands for."""

    x: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)

    def forward(self, batch: Batch) -> Tensor:
        return self.x[batch.index]


class LinearGaussian(Points):
    ordered = True

    def __init__(self, x: Tensor, weight: Tensor, noise: float) -> None:
        super().__init__(x)
        self.weight, self.noise = weight, noise

    def log_prob(self, code: Tensor, batch: Batch) -> Tensor:
        return torch.distributions.Normal(code @ self.weight.T, self.noise).log_prob(self.x[batch.index]).sum(-1)


class PCA:
    """N points of D_x = 5 dimensions, a code of 2; the columns of W are orthogonal, so the posterior is diagonal."""

    def __init__(self, sentences: int = 300, noise: float = 0.5) -> None:
        weight = torch.linalg.qr(torch.randn(5, 2, dtype=torch.float64))[0] * torch.tensor([2.0, 0.7])
        marginal = torch.distributions.MultivariateNormal(
            torch.zeros(5, dtype=torch.float64), weight @ weight.T + noise**2 * torch.eye(5)
        )
        x = marginal.sample(torch.Size([sentences]))
        self.log_p = marginal.log_prob(x)
        self.split = split_of([[4]] * sentences)
        self.posterior = Gaussian(5, 2)
        variance = 1 / (1 + weight.square().sum(0) / noise**2)
        with torch.no_grad():
            self.posterior.mean.weight.copy_((weight * variance).T / noise**2)
            self.posterior.mean.bias.zero_()
            self.posterior.log_variance.weight.zero_()
            self.posterior.log_variance.bias.copy_(variance.log())
        decoder = LinearGaussian(x.float(), weight.float(), noise)
        self.vae = TextVAE(Points(x.float()), self.posterior, StandardNormal(2), cast(Any, decoder))

    def distort(self) -> "PCA":
        """Make q(z|x) wrong: shifted, and too wide."""
        with torch.no_grad():
            self.posterior.mean.bias.add_(0.3)
            self.posterior.log_variance.bias.add_(0.8)
        return self

    def bound(self, samples: int, *, tempered: bool = False) -> Tensor:
        with evaluating(self.vae, seed=samples):
            return -importance_weighted_nll(self.vae, self.split, samples, tempered=tempered)

    def estimate(self, objective: TextELBO, seeds: int = 20) -> tuple[float, float]:
        """What an objective says of the mean log p(x), less what it is; and the standard error over seeds."""
        batch, said = next(iter(Batches(self.split, len(self.split), batching="sorted"))), []
        for seed in range(seeds):
            torch.manual_seed(seed)
            said.append(-objective.loss(self.vae.generative, self.vae.inference, batch) / len(self.split))
        above = np.array(said) - self.log_p.mean().item()
        return above.mean(), above.std(ddof=1) / math.sqrt(seeds)


def test_with_the_true_posterior_every_importance_weight_is_exact():
    pca = PCA()
    for samples in (1, 7):
        torch.testing.assert_close(pca.bound(samples), pca.log_p, atol=2e-4, rtol=0)
    metrics = evaluate(pca.vae, pca.split, deep=False)
    # Its analytic KL and one-sample reconstruction leave the noise of one draw.
    assert metrics["nll_elbo_nats_per_sentence"] == pytest.approx(-pca.log_p.mean().item(), abs=0.25)


def test_a_wrong_posterior_bounds_log_p_from_below_and_more_samples_bring_it_there():
    pca = PCA().distort()
    gaps = [pca.log_p - pca.bound(samples) for samples in (1, 8, 64, 1000)]
    means = [gap.mean().item() for gap in gaps]
    errors = [likelihood.standard_error(gap) for gap in gaps]
    assert all(mean > -4 * error for mean, error in zip(means, errors, strict=True))
    assert means[0] > means[1] > means[2] > means[3]
    assert means[-1] == pytest.approx(0, abs=0.01)


def test_tempered_proposals_reach_log_p_where_q_is_too_sure_and_do_not_exceed_it():
    pca = PCA().distort()
    with torch.no_grad():
        pca.posterior.log_variance.bias.sub_(4.0)
    gaps = {(samples, tempered): pca.log_p - pca.bound(samples, tempered=tempered) for samples, tempered in SURE}
    for gap in gaps.values():
        assert gap.mean() > -4 * likelihood.standard_error(gap)
    means = {key: gap.mean().item() for key, gap in gaps.items()}
    assert means[20, True] < 0.5 * means[500, False] < 0.5 * means[20, False]
    assert means[500, True] == pytest.approx(0, abs=0.08)


SURE = ((20, False), (500, False), (20, True), (500, True))


@pytest.mark.parametrize("samples", [1, 3, 7, 20])
def test_the_mean_of_tempered_weights_is_p_of_x_however_many_draws_each_proposal_gets(samples):
    pca = PCA(sentences=100).distort()
    batch = next(iter(Batches(pca.split, 100, batching="sorted")))
    with evaluating(pca.vae, 0):
        q = posterior_of(draw_codes(pca.vae, batch)[0])
        estimates = torch.stack(
            [importance_weighted(log_weights(pca.vae, batch, q, samples, tempered=True)) for _ in range(400)]
        )
    ratio = (estimates - pca.log_p).exp().mean(1)  # one number a trial, of mean 1
    assert ratio.mean().item() == pytest.approx(1, abs=4 * ratio.std().item() / math.sqrt(400))
    assert ratio.std() < 0.5


def test_the_elbo_misses_log_p_by_the_kl_from_q_to_the_true_posterior():
    pca = PCA()
    true = pca.posterior.z(pca.vae.encoder(next(iter(Batches(pca.split, 300, batching="sorted")))))
    pca.distort()
    wrong = pca.posterior.z(pca.vae.encoder(next(iter(Batches(pca.split, 300, batching="sorted")))))
    kl = torch.distributions.kl_divergence(wrong, true).mean().item()
    nll = [evaluate(pca.vae, pca.split, deep=False, seed=s)["nll_elbo_nats_per_sentence"] for s in range(30)]
    missed = np.array(nll) + pca.log_p.mean().item()
    assert missed.mean() == pytest.approx(kl, abs=4 * missed.std() / math.sqrt(30))


def likeliest_for_means_of(draws: int, pca: PCA) -> float:
    """Give q the moments that maximise the released estimator; by how much, in theory, it then exceeds log p(x).

    A dimension's signal-to-noise ratio S makes the true posterior's precision 1 + S; that of a q that pays for one draw
    and is decoded from the mean of n is 1 + S/n.
    """
    ratio = pca.posterior.log_variance.bias.detach().neg().exp() - 1
    with torch.no_grad():
        pca.posterior.log_variance.bias.copy_(-torch.log1p(ratio / draws))
    return 0.5 * (torch.log1p(ratio) - torch.log1p(ratio / draws)).sum().item()


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_the_estimator_released_with_xu_2018_exceeds_log_p_and_by_what_theory_says(draws):
    pca = PCA()
    above, error = pca.estimate(ReleasedEstimator(draws=draws))
    ratio = pca.posterior.log_variance.bias.detach().neg().exp() - 1
    at_the_posterior = 0.5 * (1 - 1 / draws) * (ratio / (1 + ratio)).sum().item()
    assert above == pytest.approx(at_the_posterior, abs=4 * error)
    exceeds = likeliest_for_means_of(draws, pca)
    above, error = pca.estimate(ReleasedEstimator(draws=draws))
    assert above == pytest.approx(exceeds, abs=4 * error)
    assert above - 4 * error > max(0.3, at_the_posterior)


@pytest.mark.parametrize("distorted", [False, True])
def test_none_of_our_own_estimators_exceeds_log_p(distorted):
    pca = PCA()
    for _ in range(2):
        if distorted:
            pca.distort()
        bounds = {
            "one draw": BetaELBO(),
            "mean of three log-likelihoods": TextELBO(Reconstruction(), KL(), num_particles=3),
            "released, of one draw": ReleasedEstimator(draws=1),
        }
        for name, objective in bounds.items():
            above, error = pca.estimate(objective)
            assert above < 4 * error, name
        for samples in (1, 3, 50):
            gap = pca.bound(samples) - pca.log_p
            assert gap.mean() < max(4 * likelihood.standard_error(gap), 1e-4), samples
        likeliest_for_means_of(3, pca)  # where the released one is furthest off


def test_evaluation_gives_the_released_estimator_a_name_that_says_it_is_no_bound():
    pca = PCA()
    exceeds = likeliest_for_means_of(3, pca)
    exact = -pca.log_p.mean().item()
    seeds = [evaluate(pca.vae, pca.split, released_draws=3, deep=False, seed=seed) for seed in range(20)]
    mean = {name: float(np.mean([metrics[name] for metrics in seeds])) for name in seeds[0]}
    assert mean["no_bound_xu2018_released_nats_per_sentence"] == pytest.approx(exact - exceeds, abs=0.1)
    assert mean["nll_elbo_nats_per_sentence"] > exact
    assert mean["nll_elbo_same_draws_nats_per_sentence"] == pytest.approx(mean["nll_elbo_nats_per_sentence"], abs=0.1)
    released = {name for name in mean if "released" in name}
    bounds = {"nll_elbo_same_draws_nats_per_sentence", "perplexity_elbo_same_draws"}
    assert released | bounds == mean.keys() - evaluate(pca.vae, pca.split, deep=False).keys()
    assert not [name for name in released if name.startswith(("nll", "kl", "elbo"))]
    assert all("no_bound" in name for name in released if "perplexity" in name)
    with pytest.raises(ValueError, match="released_draws=-1 came, but a mean is of at least one draw"):
        evaluate(pca.vae, pca.split, released_draws=-1)


# --- the sphere in 32 dimensions: p(x|z) = exp(s <x, z>), whose integral over the uniform prior is a Bessel function


class OnSphere(Points):
    def __init__(self, x: Tensor, strength: float) -> None:
        super().__init__(x)
        self.strength = strength

    def log_prob(self, code: Tensor, batch: Batch) -> Tensor:
        return self.strength * (self.x[batch.index] * code).sum(-1)


def on_sphere(strength: float, D: int = 32, sentences: int = 50) -> tuple[TextVAE, Split, float]:
    """A vMF posterior of concentration 13 around the point, which is true where the strength is 13; and log p(x)."""
    x = torch.nn.functional.normalize(torch.randn(sentences, D), dim=-1)
    posterior = VonMisesFisherPosterior(D, D, concentration=13.0)
    with torch.no_grad():
        posterior.mean.weight.copy_(torch.eye(D))
        posterior.mean.bias.zero_()
    vae = TextVAE(Points(x), posterior, UniformSphere(D), cast(Any, OnSphere(x, strength)))
    order = D / 2 - 1
    log_p = math.lgamma(D / 2) + order * math.log(2 / strength) + math.log(scipy.special.iv(order, strength))
    return vae, split_of([[4]] * sentences), log_p


def test_with_the_true_posterior_on_the_sphere_every_importance_weight_is_exact():
    vae, split, log_p = on_sphere(13.0)
    with evaluating(vae, 0):
        nll = importance_weighted_nll(vae, split, 3)
    torch.testing.assert_close(-nll, torch.full_like(nll, log_p), atol=1e-4, rtol=0)


def test_500_samples_on_the_sphere_are_500_and_not_5_with_log_500_taken_off():
    """The code released with Zhu et al. (2020) draws one z a call, whatever was asked: log 100 = 4.6 nats too many."""
    vae, split, log_p = on_sphere(9.0)
    with evaluating(vae, 0):
        batch = next(iter(Batches(split, len(split), batching="sorted")))
        weights = log_weights(vae, batch, draw_codes(vae, batch)[0].q("z"), 500)
        assert weights.shape == (500, len(split)) and len(weights[:, 0].unique()) > 490
        ours = -importance_weighted_nll(vae, split, 500).mean().item()
    assert ours == pytest.approx(log_p, abs=0.02)
    released = (weights.unflatten(0, (5, 100))[:, 0].logsumexp(0) - math.log(500)).mean().item()
    assert released == pytest.approx(log_p - math.log(100), abs=0.4)  # of 5 samples: noise, and a bias of its own


# --- language models so small that the integral over z is a sum over a grid


WORDS = (4, 5)
SENTENCES: list[list[int]] = [list(words) for length in (1, 2, 3) for words in product(WORDS, repeat=length)]


def tiny(name: str, latent: int, **options: Any) -> TextVAE:
    """A recipe with random weights, those of the decoder so large that z matters."""
    size = Size(vocabulary=6, embedding=3, hidden=5, latent=latent)
    vae = recipes()[name](size, **options).vae
    with torch.no_grad():
        if not isinstance(vae.decoder, DilatedDecoder):  # whose outputs are large as they are
            for parameter in vae.decoder.parameters():
                parameter.mul_(3.0)
        for parameter in vae.encoder.parameters():
            parameter.mul_(2.0)
        for name, parameter in vae.prior.named_parameters():  # as if trained
            if name in ("log_variance", "factor", "log_factor"):
                parameter.add_(0.5 * torch.randn_like(parameter))
        for module in vae.posterior.modules():  # wide enough that importance weights have a variance
            if isinstance(module, BatchNormBothGaussian):
                module.normalise_scale.running_variance.fill_(0.3)
            elif isinstance(module, Gaussian):
                module.log_variance.bias.add_(1.0)
            if isinstance(module, OneHotPosterior):  # a code that differs between sentences
                module.mean.weight.mul_(4.0)
            if isinstance(module, BatchNormalisedMean):  # as if trained
                module.shift.add_(0.5)
                module.running_mean.add_(0.2)
                module.running_variance.mul_(0.1)
    return vae.eval()


def line(steps: int) -> tuple[Tensor, Tensor]:
    z = torch.linspace(-9, 9, steps)
    return z[:, None], torch.full((steps,), math.log(18 / (steps - 1)))


def plane(steps: int) -> tuple[Tensor, Tensor]:
    z, log_width = line(steps)
    grid = torch.cartesian_prod(z[:, 0], z[:, 0])
    return grid, (2 * log_width[0]).expand(len(grid))


def circle(steps: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(steps) * (2 * math.pi / steps)
    return torch.stack([angle.cos(), angle.sin()], -1), torch.full((steps,), math.log(2 * math.pi / steps))


def sphere(latitudes: int) -> tuple[Tensor, Tensor]:
    """On the sphere in 3 dimensions, 2 latitudes^2 points: Gauss and Legendre's in height, equal steps around."""
    height, weight = np.polynomial.legendre.leggauss(latitudes)
    angle = torch.arange(2 * latitudes) * (math.pi / latitudes)
    height, angle = torch.tensor(height).float()[:, None], angle[None]
    radius = (1 - height.square()).sqrt()
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), height.expand(-1, 2 * latitudes)], -1)
    area = torch.tensor(weight).float()[:, None].expand(-1, 2 * latitudes) * (math.pi / latitudes)
    return points.flatten(0, 1), area.flatten().log()


def one_hots(variables: int, classes: int) -> tuple[Tensor, Tensor]:
    """Every value of so many discrete variables; a sum over them needs no width."""
    eye = torch.eye(classes)
    values = torch.stack([eye[list(each)].flatten() for each in product(range(classes), repeat=variables)])
    return values, torch.zeros(len(values))


def beside(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Every value of one grid beside every value of another."""
    values = [torch.cat([a, b]) for a in left[0] for b in right[0]]
    return torch.stack(values), (left[1][:, None] + right[1]).flatten()


IMPORTANCE = ("nll_importance_weighted_nats_per_sentence", "nll_importance_tempered_nats_per_sentence")

CASES = {
    "vae on a line": ("vae", 1, {}, line(1201)),
    "vae on a plane": ("vae", 2, {}, plane(121)),
    "skip on a line": ("skip_vae", 1, {}, line(1201)),
    "cnn on a line": ("cnn_vae", 1, {}, line(1201)),
    "both normalised on a plane": ("bn_both_vae", 2, {}, plane(121)),
    "committed on a line": ("delta_vae", 1, {"delta": 0.5}, line(1201)),
    "committed on a plane": ("delta_vae", 2, {}, plane(121)),
    "chain on a plane": ("delta_vae", 2, {"delta": 0.4, "prior": "autoregressive"}, plane(121)),
    "batch-normalised means on a line": ("bn_vae", 1, {}, line(1201)),
    "mixture on a line": ("gm_vae", 1, {"components": 3}, line(1201)),
    "two mixtures": ("dem_vae", 1, {"components": 3, "variables": 2}, plane(121)),
    "shared variance on a line": ("dem_vae", 1, {"family": "shared variance", "components": 3}, line(1201)),
    "full covariances on a plane": ("dem_vae", 2, {"family": "full covariance", "components": 3}, plane(121)),
    "batch-normalised means and a mixture": ("gm_vae", 1, {"components": 3, "gamma": 0.7}, line(1201)),
    "mixture of posteriors on a line": ("mop_gm_vae", 1, {"components": 3}, line(1201)),
    "two mixtures of posteriors": ("mop_gm_vae", 1, {"components": 3, "variables": 2}, plane(121)),
    "discrete code": ("dvae", 2, {"classes": 3}, one_hots(2, 3)),
    "discrete code of the aggregate": ("di_vae", 3, {"classes": 2}, one_hots(3, 2)),
    "categorical mixture": ("cm_vae", 2, {"classes": 3, "components": 4}, one_hots(2, 3)),
    "two categorical mixtures": ("dcm_vae", 1, {"classes": 3, "components": 2, "variables": 2}, one_hots(2, 3)),
    "bernoulli mixture": ("dem_vae", 3, {"family": "bernoulli", "components": 3}, one_hots(3, 2)),
    "one-hots beside a line": ("semi_vae", 1, {"components": 3}, beside(one_hots(1, 3), line(301))),
    "vmf on a circle": ("vmf_vae", 2, {"concentration": 1.0}, circle(720)),
    "vmf on a sphere": ("vmf_vae", 3, {"concentration": 2.0}, sphere(24)),
    "nvrnn on a line": ("nvrnn", 1, {}, line(1201)),
    "nvrnn of a learnt concentration": (
        "vmf_nvrnn", 3, {"concentration": 2.0, "concentrations": "softplus"}, sphere(24),
    ),
    "nvrnn given bags of words": ("nvrnn", 1, {"bag_of_words": True}, line(1201)),
    "learnt concentrations on a circle": (
        "dvmf_mixture_vae", 2, {"components": 3, "concentration": 1.0, "concentrations": "learnt"}, circle(720),
    ),
    "vmf mixture on a circle": (
        "dem_vae", 2, {"family": "vmf", "components": 3, "concentration": 1.0, "component_concentration": 3.0},
        circle(720),
    ),
}  # fmt: skip


def log_prior(vae: TextVAE, z: Tensor) -> Tensor:
    """log p(z) written out: over every joint class of the variables, by the framework's own densities. (N,)."""
    prior = vae.prior
    if isinstance(prior, UniformSphere):
        return torch.full((len(z),), -math.log({2: 2, 3: 4}[prior.code] * math.pi))  # a circle, a sphere
    if isinstance(prior, AutoregressivePrior):
        covariance = torch.eye(2) + prior.correlation * (1 - torch.eye(2))
        return torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(z)
    if isinstance(prior, StandardNormal):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    if isinstance(prior, OneHotsBesideNormal):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z[:, -1]) - prior.variables * math.log(prior.components)
    if isinstance(prior, UniformOneHots):
        return torch.full((len(z),), -prior.variables * math.log(prior.components))
    parts = z.unflatten(-1, (prior.variables, -1))  # pyright: ignore[reportArgumentType]
    joint = []
    for classes in product(range(prior.components), repeat=prior.variables):  # pyright: ignore
        log_p = torch.zeros(len(z))
        for m, k in enumerate(classes):
            if isinstance(prior, FullCovarianceMixture):
                log_p += full_covariance(prior, m, k).log_prob(parts[:, m])
            elif isinstance(prior, CategoricalMixture):
                logits = torch.cat([prior.logits[m, k], torch.zeros(prior.logits.size(2), 1)], -1)
                chosen = parts[:, m].unflatten(-1, logits.shape).argmax(-1)  # (N, latent)
                log_p += torch.distributions.Categorical(logits=logits).log_prob(chosen).sum(-1)
            elif isinstance(prior, SharedVarianceMixture):
                deviation = (3 * torch.tanh(prior.log_variance[m, 0] / 6)).exp()
                log_p += torch.distributions.Normal(prior.mean[m, k], deviation).log_prob(parts[:, m]).sum(-1)
            elif isinstance(prior, GaussianMixture):
                deviation = (3 * torch.tanh(prior.log_variance[m, k] / 6)).exp()  # half a log variance bounded by 6
                log_p += torch.distributions.Normal(prior.mean[m, k], deviation).log_prob(parts[:, m]).sum(-1)
            else:
                assert isinstance(prior, VonMisesFisherMixture) and prior.latent == 2
                angle, centre = (torch.atan2(v[..., 1], v[..., 0]) for v in (parts[:, m], prior.direction[m, k]))
                concentration = prior.concentration
                if isinstance(prior, LearntVonMisesFisherMixture):
                    concentration = concentration * (3 * torch.tanh(prior.log_factor[m, k] / 3)).exp()
                log_p += torch.distributions.VonMises(centre, concentration).log_prob(angle)
        joint.append(log_p - len(classes) * math.log(prior.components))  # pyright: ignore
    return torch.stack(joint).logsumexp(0)


def full_covariance(prior: FullCovarianceMixture, m: int, k: int) -> torch.distributions.MultivariateNormal:
    """A component in two dimensions, by its covariance."""
    first, second = (3 * torch.tanh(prior.log_variance[m, k] / 6)).exp()
    below = prior.factor[m, k, 0]
    covariance = torch.stack([first**2, first * below, first * below, below**2 + second**2]).unflatten(0, (2, 2))
    return torch.distributions.MultivariateNormal(prior.mean[m, k], covariance)


@torch.no_grad()
def exact_log_prob(vae: TextVAE, grid: tuple[Tensor, Tensor], sentences: list[list[int]]) -> Tensor:
    """log of the sum over the grid of p(z) p(x|z) dz: (N,)."""
    z, log_width = grid
    log_p = []
    for sentence in sentences:
        batch = Batch.collate([sentence]).repeat(len(z))
        log_p.append((vae.decoder.log_prob(z, batch) + log_prior(vae, z) + log_width).double().logsumexp(0))
    return torch.stack(log_p)


@pytest.mark.parametrize("case", CASES)
def test_no_bound_exceeds_the_exact_log_p_of_an_enumerable_model_and_many_samples_reach_it(case: str):
    name, latent, options, grid = CASES[case]
    vae, split = tiny(name, latent, **options), split_of(SENTENCES * 4)
    exact = -exact_log_prob(vae, grid, SENTENCES).mean().item()
    seeds = range(8)
    ten: dict[str, Any] = dict(importance_samples=10, tempered_samples=10, batch_size=len(SENTENCES) * 4)
    reported = [evaluate(vae, split, seed=seed, **ten) for seed in seeds]
    above: dict[str, float] = {}
    for bound in ("nll_elbo_nats_per_sentence", *IMPORTANCE):
        costs = np.array([metrics[bound] for metrics in reported]) - exact
        above[bound] = costs.mean()
        assert costs.mean() > -3 * costs.std(ddof=1) / math.sqrt(len(seeds)), bound
    assert above["nll_elbo_nats_per_sentence"] > above["nll_importance_weighted_nats_per_sentence"]
    for metrics in reported:
        parts = [value for key, value in metrics.items() if key in ("kl_c_nats_per_sentence", "kl_z_nats_per_sentence")]
        summed_out = isinstance(vae.prior, Mixture) and not isinstance(vae.prior, MarginalGaussianMixture)
        assert len(parts) == (2 if summed_out or isinstance(vae.prior, OneHotsBesideNormal) else 1)
        assert metrics["nll_elbo_nats_per_sentence"] == pytest.approx(
            metrics["reconstruction_nats_per_sentence"] + sum(parts), rel=1e-5
        )
    many = evaluate(vae, split, importance_samples=4000, tempered_samples=1000)
    assert [many[bound] for bound in IMPORTANCE] == pytest.approx([exact, exact], abs=0.02)
    # The decoder uses z, or all of this would hold of a model without a code.
    some = grid[0][:: 1 + len(grid[0]) // 13]
    assert torch.stack([vae.decoder.log_prob(z[None], Batch.collate([[4, 5]])) for z in some]).std() > 0.2


# A sentence that is scored given its own bag of words has a probability of its own, and these do not add up.
@pytest.mark.parametrize("name", [case for case in CASES if "bag_of_words" not in CASES[case][2]])
def test_the_exact_probabilities_of_all_sentences_add_up_to_one(name: str):
    recipe, latent, options, grid = CASES[name]
    vae = tiny(recipe, latent, **options)
    if latent < 3 and len(grid[0]) > 1000:  # every tenth point serves
        grid = (grid[0][::10], grid[1][::10] + math.log(10))
    assert vae.decoder.output is not None
    with torch.no_grad():  # </s> is always likely, so that hardly any sentence has more than 2 words
        vae.decoder.output.weight[EOS] = 0
        vae.decoder.output.bias[EOS] = 12.0
    symbols = [word for word in range(6) if word != EOS]
    sentences = [list(words) for length in range(3) for words in product(symbols, repeat=length)]
    assert exact_log_prob(vae, grid, sentences).exp().sum().item() == pytest.approx(1, abs=2e-3)


# --- what is reported, and at what cost


def test_both_bounds_of_a_language_model_are_its_exact_nll():
    vae, split = tiny("lstm_lm", 1), split_of(SENTENCES)
    exact = -vae.decoder.log_prob(torch.empty(len(SENTENCES), 0), Batch.collate(SENTENCES)).mean().item()
    metrics = evaluate(vae, split, importance_samples=3)
    assert metrics["nll_elbo_nats_per_sentence"] == pytest.approx(exact, rel=1e-6)
    assert metrics["nll_importance_weighted_nats_per_sentence"] == pytest.approx(exact, rel=1e-6)
    assert "latent_dimensions" not in metrics and "shuffled_z_gap_nats_per_sentence" not in metrics


def test_an_autoencoder_reports_no_bound():
    vae, split = tiny("ae", 2), split_of(SENTENCES)
    metrics = evaluate(vae, split, importance_samples=3)
    assert not [name for name in metrics if name.startswith(("nll", "kl", "perplexity", "mutual", "importance"))]
    assert all(map(math.isfinite, metrics.values()))
    with evaluating(vae, 0), pytest.raises(ValueError, match="point"):
        importance_weighted_nll(vae, split, 3)


def test_perplexity_counts_the_end_of_a_sentence_and_not_its_start():
    vae = tiny("lstm_lm", 1)
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.zero_()
    assert evaluate(vae, split_of(SENTENCES))["perplexity_elbo"] == pytest.approx(6, rel=1e-6)


def test_a_perplexity_too_large_for_a_number_is_left_out_and_its_nll_is_not():
    vae = tiny("vae", 1)
    assert vae.decoder.output is not None
    with torch.no_grad():
        vae.decoder.output.bias[EOS] = 5000.0
    metrics = evaluate(vae, split_of(SENTENCES), importance_samples=2)
    assert 4000 < metrics["nll_elbo_nats_per_sentence"] < math.inf
    assert not [name for name in metrics if name.startswith("perplexity")]


def test_importance_weighting_scores_no_more_tokens_at_a_time_than_stated(monkeypatch: pytest.MonkeyPatch):
    vae, scored = tiny("gm_vae", 1, components=3), []
    batch = Batch.collate(SENTENCES)
    tokens = batch.real.numel()
    log_prob = vae.decoder.log_prob
    monkeypatch.setattr(
        vae.decoder, "log_prob", lambda code, batch: (scored.append(batch.real.numel()), log_prob(code, batch))[1]
    )
    for limit, most in ((3 * tokens + 1, 3 * tokens), (1, tokens)):
        monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", limit)
        scored.clear()
        with evaluating(vae, 0):
            assert log_weights(vae, batch, draw_codes(vae, batch)[0].q("z"), 10).shape == (10, len(SENTENCES))
        assert max(scored) == most and sum(scored) == 10 * tokens


def test_importance_weighting_without_samples_is_refused():
    vae = tiny("vae", 1)
    with evaluating(vae, 0), pytest.raises(ValueError, match="at least 1"):
        importance_weighted_nll(vae, split_of(SENTENCES), 0)
