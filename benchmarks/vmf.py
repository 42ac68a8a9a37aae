"""The vMF's draws, and a draw with KL and backward, against a Normal and other libraries' spheres: paired CPU times.

Peers that can be imported join: hyperspherical_vae (s-vae-pytorch), power_spherical and pythae, from the environment or
from checkouts named by --peer-path. Every batch has its own locations and its own concentrations, uniform in 50..150;
in one column all share a fixed one, given as a number.
"""

import gc
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import torch
import tyro
from measure import Arm, Ratio
from pyro_textvae_distributions import _bessel, _quantile, _tables
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import normalize

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

SECONDS_OF_A_STEP = 0.02  # a draw takes 0.1 ms: many make one measurement


@dataclass(frozen=True)
class Contender:
    """A distribution of a batch: its draws from (loc, concentration), and the KL to its prior of the same batch."""

    name: str
    of: Callable[[Tensor, Tensor], Any]
    draw: Callable[[Any], Tensor]
    kl: Callable[[Any], Tensor]


def ours(dimension: int) -> Contender:
    prior = HypersphericalUniform(dimension)
    return Contender("ours", VonMisesFisher, lambda q: q.rsample(), lambda q: kl_divergence(q, prior))


def ours_of_a_number(dimension: int) -> Contender:
    """The same where all vectors share one fixed concentration, as in most VAEs with a vMF."""
    prior = HypersphericalUniform(dimension)

    def of(loc: Tensor, k: Tensor) -> VonMisesFisher:
        return VonMisesFisher(loc, 100.0)

    return Contender("ours, one number", of, lambda q: q.rsample(), lambda q: kl_divergence(q, prior))


def normal(dimension: int) -> Contender:
    prior = Normal(torch.zeros(dimension), 1.0)

    def of(loc: Tensor, k: Tensor) -> Normal:
        # Its scale is a leaf of the shape of loc, as in a Gaussian VAE.
        return Normal(loc, loc.abs() + 0.1)

    return Contender("Normal", of, lambda q: q.rsample(), lambda q: kl_divergence(q, prior).sum(-1))


def peers(dimension: int) -> Iterator[Contender]:
    """Those that are installed or on a --peer-path."""
    with suppress(ImportError):
        import hyperspherical_vae.distributions as theirs  # pyright: ignore[reportMissingImports]

        uniform = theirs.HypersphericalUniform(dimension - 1)
        yield Contender(
            "s-vae-pytorch",
            lambda loc, k: theirs.VonMisesFisher(loc, k[:, None]),
            lambda q: q.rsample(),
            lambda q: kl_divergence(q, uniform),
        )
        yield Contender(
            "s-vae-pytorch, 20 proposals",
            lambda loc, k: theirs.VonMisesFisher(loc, k[:, None], k=20),
            lambda q: q.rsample(),
            lambda q: kl_divergence(q, uniform),
        )
    with suppress(ImportError):
        import power_spherical as power  # pyright: ignore[reportMissingImports]

        whole = power.HypersphericalUniform(dimension)
        yield Contender(
            "PowerSpherical", power.PowerSpherical, lambda q: q.rsample(), lambda q: kl_divergence(q, whole)
        )
    with suppress(ImportError):
        from pythae.models.svae.svae_model import SVAE  # pyright: ignore[reportMissingImports]

        model = SVAE.__new__(SVAE)  # its sampler and its KL use nothing of the model
        yield Contender(
            "pythae",
            lambda loc, k: (loc, k[:, None]),
            lambda q: model._sample_von_mises(*q),
            lambda q: model._compute_kl(dimension, q[1]),
        )


def arm(contender: Contender, batch: int, dimension: int, *, backward: bool, compiled: bool = False) -> Arm:
    loc = normalize(torch.randn(batch, dimension), dim=-1).requires_grad_(backward)
    k = (50 + 100 * torch.rand(batch)).requires_grad_(backward)
    weight = torch.randn(batch, dimension)

    def of_step(loc: Tensor, k: Tensor) -> Tensor:
        q = contender.of(loc, k)
        return (contender.draw(q) * weight).sum() + contender.kl(q).sum() if backward else contender.draw(q)

    of_step(loc, k)  # PyTorch looks a KL up in a way of its own the first time, which is not compiled
    function = torch.compile(of_step, fullgraph=True, dynamic=False) if compiled else of_step

    def step(times: int) -> None:
        for _ in range(times):
            out = function(loc, k)
            if backward:
                out.backward()
                loc.grad = k.grad = None

    return Arm(contender.name, step, lambda: None)


def repeats(arm: Arm) -> int:
    """How many of its steps make one measurement."""
    return max(1, round(SECONDS_OF_A_STEP / (arm.seconds(10) / 10)))


def microseconds(arm: Arm, times: int) -> float:
    """Of one of its steps: the least of five measurements."""
    return 1e6 * min(arm.seconds(times) for _ in range(5)) / times


@dataclass(frozen=True)
class Result:
    what: str
    batch: int
    dimension: int
    our_microseconds: float
    ratios: list[Ratio]


def measured(batch: int, dimension: int, pairs: int, *, backward: bool) -> Result:
    us = arm(ours(dimension), batch, dimension, backward=backward)
    us.seconds(3)
    times = repeats(us)
    ratios = []
    number = arm(ours_of_a_number(dimension), batch, dimension, backward=backward)
    number.seconds(3)

    def paired(first: Arm, second: Contender) -> Ratio:
        other = arm(second, batch, dimension, backward=backward)
        other.seconds(3)
        gc.collect()
        return measure.paired(second.name, first, other, [times] * pairs)

    ratios = [paired(us, contender) for contender in (ours(dimension), normal(dimension))]
    ratios += [paired(number, normal(dimension))]
    ratios += [paired(us, contender) for contender in peers(dimension)]
    what = "draw, KL, backward" if backward else "draw"
    return Result(what, batch, dimension, microseconds(us, times), ratios)


def compiled_step(batch: int, dimension: int, pairs: int) -> str:
    """Draw, KL and backward by torch.compile, a Normal's also so, and ours as it comes."""
    torch.compiler.reset()  # or the sizes of what was compiled before count
    us, other = (arm(of(dimension), batch, dimension, backward=True, compiled=True) for of in (ours, normal))
    plain = arm(ours(dimension), batch, dimension, backward=True)
    for each in (us, other, plain):
        each.seconds(3)
    times = repeats(us)
    ratios = [
        measure.paired(name, first, second, [times] * pairs)
        for name, first, second in (("over Normal", other, us), ("over ours as it comes", plain, us))
    ]
    return measure.row([batch, dimension, *(f"{microseconds(each, times):.0f}" for each in (us, plain)), *ratios])


def over_noise(batch: int, dimension: int, pairs: int) -> str:
    """A draw over torch.randn of its shape, the D normal numbers that every sampler here begins with."""
    noise = Arm("noise", lambda times: [torch.randn(batch, dimension) for _ in range(times)], lambda: None)
    draws = (ours(dimension), *peers(dimension))
    contenders = [arm(contender, batch, dimension, backward=False) for contender in draws]
    for each in (noise, *contenders):
        each.seconds(3)
    times = repeats(contenders[0])
    ratios = [measure.paired(each.name, noise, each, [times] * pairs) for each in contenders]
    return measure.row([batch, dimension, *ratios])


def is_a_vmf(contender: Contender) -> bool:
    return contender.name not in ("Normal", "PowerSpherical")


def gradients(contender: Contender, dimension: int, concentration: float, draws: int) -> tuple[float, ...]:
    """Mean cosine, mean and variance of its gradient in k, and of a curved function the variances in k and in loc.

    The curved function of a draw x is c . x + (c . x)^2, for a unit vector c at 60 degrees from loc; gradients in loc
    are taken in the tangent plane, where they mean something, and their variances are summed over it.
    """
    mu = normalize(torch.randn(dimension, generator=torch.Generator().manual_seed(1)), dim=-1)
    other = normalize(torch.randn(dimension, generator=torch.Generator().manual_seed(2)), dim=-1)
    aside = normalize(other - (other @ mu) * mu, dim=-1)
    direction = mu / 2 + math.sqrt(0.75) * aside
    loc = mu.expand(draws, dimension).clone().requires_grad_()
    k = torch.full((draws,), concentration, requires_grad=True)
    x = contender.draw(contender.of(loc, k))
    cosine = x @ mu
    (of_cosine,) = torch.autograd.grad(cosine.sum(), k, retain_graph=True)
    along = x @ direction
    of_loc, of_k = torch.autograd.grad((along + along.square()).sum(), (loc, k))
    tangent = of_loc - (of_loc @ mu)[:, None] * mu
    variances = (of_cosine.var(), of_k.var(), tangent.var(0).sum())
    return tuple(value.item() for value in (cosine.mean(), of_cosine.mean(), *variances))


def exactness(dimension: int, concentration: float, draws: int) -> Iterator[str]:
    """A row a library: what it draws and how its gradients lie and scatter, over what is exact or over ours."""
    k = torch.tensor(concentration)
    mean = _bessel.mean_cosine(k, dimension).item()
    slope = _bessel.variance(k, dimension).item()
    reference: tuple[float, ...] = ()
    for contender in filter(is_a_vmf, (ours(dimension), *peers(dimension))):
        torch.manual_seed(0)
        cosine, of_k, *variances = gradients(contender, dimension, concentration, draws)
        error, error_of_cosine = math.sqrt(variances[0] / draws) / slope, math.sqrt(slope / draws) / mean
        reference = reference or tuple(variances)
        ratios = [f"{variance / own:.2f}" for variance, own in zip(variances[1:], reference[1:], strict=True)]
        exact = [f"{cosine / mean:.3f} ± {error_of_cosine:.3f}", f"{of_k / slope:.3f} ± {error:.3f}"]
        yield measure.row([dimension, f"{concentration:g}", contender.name, *exact, *ratios])


def setting_up(dimension: int) -> str:
    """Milliseconds of CPU time to make a dimension's tables, once in a process, and a row of them for a number."""
    _tables._made.cache_clear()
    _tables.recent.cache_clear()
    k, z = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    began = time.process_time()
    _bessel.kl_to_uniform(k, dimension)
    between = time.process_time()
    _quantile.draw_cotangent(k, z, dimension, torch.float32, with_rate=False)
    ended = time.process_time()
    _quantile.draw_cotangent_of_number(1.0, z, dimension, torch.float32)
    of_number = time.process_time() - ended
    tables = (f"{1000 * seconds:.0f}" for seconds in (between - began, ended - between))
    return measure.row([dimension, *tables, f"{1000 * of_number:.1f}"])


def main(
    quick: bool = False,
    batches: tuple[int, ...] = (32, 128, 4096),
    dimensions: tuple[int, ...] = (25, 50, 100, 500),
    pairs: int = 12,
    draws: int = 40_000,
    peer_path: tuple[Path, ...] = (),
    json: Path | None = None,
) -> None:
    """Measure the vMF against a Normal and the peers that can be imported.

    Args:
        quick: four pairs of one small shape, to see that it runs.
        batches: numbers of vectors.
        dimensions: their lengths.
        pairs: how many pairs of measurements a ratio is the median of.
        draws: of the comparison of gradients.
        peer_path: folders that hold peers which are not installed.
        json: a file to write the numbers to.
    """
    if quick:
        batches, dimensions, pairs = batches[:1], dimensions[:1], 4
        draws = 1000
    sys.path.extend(map(str, peer_path))
    warnings.simplefilter("ignore")  # the peers'
    measure.prepare()
    print(measure.machine())
    print("Setting up, ms CPU, once a dimension:\n")
    print(measure.row(["D", "radial table", "quantile table", "its row for a number"]))
    print(measure.row(["---"] * 4))
    for dimension in (2, 3, 4, 5, 8, *dimensions, 10_000):
        print(setting_up(dimension), flush=True)
    measure.keep_memory()
    print()
    print("Mean cosine over A and mean gradient of the cosine in k over A' (± a standard error), and of a curved")
    print(f"function the variance of the gradients in k and in loc over ours; {draws} draws.\n")
    print(measure.row(["D", "k", "", "cosine", "gradient", "variance in k", "variance in loc"]))
    print(measure.row(["---"] * 7))
    for dimension, concentration in ((5, 2.0), (25, 20.0), (100, 50.0), (100, 1000.0), (500, 100.0)):
        for line in exactness(dimension, concentration, draws):
            print(line, flush=True)
    print()
    names = ["ours again", "Normal", "Normal, over ours of one number", *(peer.name for peer in peers(dimensions[0]))]
    print(f"CPU time of each over ours: median [quartiles] of {pairs} pairs ABBA. Ours again is the noise.\n")
    print(measure.row(["", "batch", "D", "ours, µs", *names]))
    print(measure.row(["---"] * (4 + len(names))), flush=True)
    results = []
    for backward in (False, True):
        for batch in batches:
            for dimension in dimensions:
                result = measured(batch, dimension, pairs, backward=backward)
                results.append(result)
                measure.write_json(json, results)
                cells = [result.what, batch, dimension, f"{result.our_microseconds:.0f}", *result.ratios]
                print(measure.row(cells), flush=True)
    print("\nDraw, KL and backward by torch.compile: ours over a Normal's by the same, and over ours without:\n")
    print(measure.row(["batch", "D", "ours, µs", "without, µs", "ours over Normal's", "ours over ours without"]))
    print(measure.row(["---"] * 6))
    for batch in batches:
        for dimension in dimensions:
            print(compiled_step(batch, dimension, pairs), flush=True)
    print("\nA draw over the normal numbers that it takes, torch.randn of its shape:\n")
    print(measure.row(["batch", "D", "ours", *(peer.name for peer in peers(dimensions[0]))]))
    print(measure.row(["---"] * len(names)))
    for batch in batches:
        for dimension in dimensions:
            print(over_noise(batch, dimension, pairs), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
