"""What Xu & Durrett (2018) claim of a vMF posterior, on the embedded corpus: a minute or two each (-m paper).

The decoder is inputless, as where the paper's gains are. Figures in comments are those measured when this was written.
"""

import math
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch
from scipy.special import gammaln, ive
from torch.distributions import kl_divergence

from pyro_textvae.batch import Batches
from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher
from pyro_textvae.evaluation import evaluate
from pyro_textvae.objective import Objective
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run
from pyro_textvae.size import Size
from pyro_textvae.training import train

pytestmark = pytest.mark.paper

LATENT, CONCENTRATION = 8, 15.0
SETTINGS: dict[str, Any] = dict(latent=LATENT, word_dropout=1.0, epochs=12, progress=False, finish=False)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> Run:
    """A run of a fixed concentration; its decoder reads the code."""
    output: Path = tmp_path_factory.mktemp("runs") / "fixed"
    return train("vmf_nvrnn", "toy", output=output, concentration=CONCENTRATION, **SETTINGS)


def exact_kl(d: int, k: float) -> float:
    order = d / 2 - 1
    log_bessel = math.log(ive(order, k)) + k
    return k * ive(d / 2, k) / ive(order, k) + order * math.log(k / 2) - log_bessel - gammaln(order + 1)


def test_the_kl_of_a_fixed_concentration_is_its_exact_constant_whether_the_code_is_read_or_not(fixed):
    kl = exact_kl(LATENT, CONCENTRATION)
    for row in fixed.history:
        assert row["train_kl_z"] == pytest.approx(kl, rel=1e-5)
        assert row["valid_kl_z_nats_per_sentence"] == pytest.approx(kl, rel=1e-5)
    gaps = [row["valid_shuffled_z_gap_nats_per_sentence"] for row in fixed.history]
    assert gaps[0] < 0.1 < 5 < gaps[-1]  # paid from the first epoch, read later: 0.00, ..., 23.6
    fixed.evaluate("valid")
    assert fixed.verdict.state == "healthy"


def released_kl(d: int, k: float) -> float:
    """The KL as released (Guu et al. 2018's formula), to forty digits."""
    mpmath.mp.dps = 40
    bessel, half = mpmath.besseli, mpmath.mpf(d) / 2
    ratio = (bessel(half + 1, k) + bessel(half, k) * d / (2 * k)) / bessel(half, k) - mpmath.mpf(d) / (2 * k)
    rest = half * mpmath.log(k) - mpmath.log(bessel(half, k)) - mpmath.loggamma(half + 1) - half * mpmath.log(2)
    return float(k * ratio + rest)


@pytest.mark.parametrize(
    ("d", "k", "printed"),
    [(2, 1, 0.1176945308), (25, 25, 6.007973528), (50, 80, 19.58470823), (100, 40, 6.4936128), (100, 200, 47.2657789)],
)
def test_the_released_kl_is_the_exact_one_of_two_dimensions_more(d, k, printed):
    released = released_kl(d, k)
    assert released == pytest.approx(printed, rel=1e-8)
    of_two_more, exact = (
        kl_divergence(
            VonMisesFisher(torch.eye(n, dtype=torch.float64)[0], torch.tensor(float(k), dtype=torch.float64)),
            HypersphericalUniform(n),
        ).item()
        for n in (d + 2, d)
    )
    assert released == pytest.approx(of_two_more, rel=1e-10)
    assert abs(released / exact - 1) > 1e-3  # so it is no bound's KL either


def test_where_a_gaussian_collapses_a_vmf_does_not(fixed, tmp_path):
    fewer: dict[str, Any] = SETTINGS | {"epochs": 6}  # after twelve the Gaussian's code has come back: a KL of 0.9
    gaussian = train("nvrnn", "toy", output=tmp_path / "run", **fewer)
    collapsed, kept = gaussian.history[-1], fixed.history[fewer["epochs"] - 1]
    assert collapsed["valid_kl_z_nats_per_sentence"] < 0.1  # 0.002
    assert collapsed["valid_shuffled_z_gap_nats_per_sentence"] < 0.1
    name = "valid_nll_elbo_nats_per_sentence"
    assert kept[name] < collapsed[name] - 1  # 26.7 and 28.6: to pay for the code was worth it


def go_on(run: Run, updates: int = 400, **options: Any) -> dict[str, float]:
    """Train on with learnt concentrations that begin near the fixed one's, from all that the run has learnt."""
    torch.manual_seed(0)
    size = Size(len(run.vocabulary), **run.recipe["size"])
    made = recipes()["vmf_nvrnn"](size, concentration=CONCENTRATION, **options)
    missing, unexpected = made.vae.load_state_dict(run.vae.state_dict(), strict=False)
    assert all("raw_concentration" in name for name in missing) and not unexpected
    objective = Objective(made.vae, made.objective).train()
    optimizer, split, done = torch.optim.AdamW(objective.parameters(), lr=2e-3), run.corpus.splits["train"], 0
    while done < updates:
        for batch in Batches(split, 32, epoch=done):
            optimizer.zero_grad()
            objective(batch, 0).backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
            optimizer.step()
            done += 1
            if done == updates:
                break
    return evaluate(made.vae, run.corpus.splits["valid"], deep=False)


def test_once_the_code_is_read_exact_gradients_keep_concentrations_and_detached_ones_lose_them(fixed):
    """So where a code is in use, the released evidence that concentrations cannot be learnt is of its gradient."""
    exact = go_on(fixed, concentrations="softplus", gradient="exact")
    detached = go_on(fixed, concentrations="softplus", gradient="detached")
    assert 5 < exact["concentration_mean"] < 25  # 15.1, of sentences from 10.6 to 22.4
    assert exact["concentration_max"] > 2 * exact["concentration_min"]
    assert exact["kl_nats_per_sentence"] > 2 and exact["shuffled_z_gap_nats_per_sentence"] > 5  # 3.62 and 29.1
    assert detached["concentration_max"] < 1 and detached["kl_nats_per_sentence"] < 0.05  # 0.05 on average, 0.00
    name = "nll_elbo_nats_per_sentence"
    assert exact[name] < detached[name] - 2  # 22.3 and 28.0


def test_a_detached_concentration_falls_to_its_lower_clip_and_an_exact_one_does_not(fixed):
    detached = go_on(fixed, concentrations="clipped", gradient="detached")
    assert detached["concentration_min"] == 10 and detached["concentration_max"] < 11  # 10.5
    assert detached["concentration_mean"] < 10.05  # 10.002
    exact = go_on(fixed, concentrations="clipped", gradient="exact")
    assert exact["concentration_max"] > 12  # 23.2, and on average 14.8


@pytest.mark.parametrize("gradient", ["exact", "detached"])
def test_learnt_from_the_start_a_concentration_falls_with_either_gradient_as_a_gaussians_kl_does(tmp_path, gradient):
    """Before the decoder reads the code, its say in the concentration is nil: this is posterior collapse as ever."""
    options: dict[str, Any] = dict(concentration=CONCENTRATION, concentrations="softplus", gradient=gradient)
    run = train("vmf_nvrnn", "toy", output=tmp_path / "run", **SETTINGS | {"epochs": 3}, **options)
    last = run.history[-1]
    assert last["valid_concentration_max"] < 1 and last["valid_kl_z_nats_per_sentence"] < 0.05  # 0.02 and 0.00
