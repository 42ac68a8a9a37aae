"""The pictures of docs/von_mises_fisher.md: draws on the sphere, densities of the cosine, accuracy beside the peers'.

    python scripts/vmf_pictures.py --peer-path CHECKOUT_OF_S_VAE_PYTORCH CHECKOUT_OF_PYTHAE

Peers that cannot be imported, from the environment or from --peer-path, have no panel.
"""

import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from matplotlib.colors import BoundaryNorm, ListedColormap
from scipy import special, stats
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "distributions" / "vmf_reference.json"
INK, PAPER, BLUE, RED = "#222222", "#f4f4f2", "#2a6f97", "#c1440e"
MOST_OF_SCIPY = 1000  # above this dimension its matrix of D x D numbers is too large
DIGITS = np.array([-16.5, -14, -12, -10, -8, -6, -4, -2, 1])

Errors = Callable[[int, float], float]


def save(figure: Any, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def sphere(folder: Path) -> None:
    """600 draws at three concentrations about one location, seen from aside; pale: on the far side."""
    torch.manual_seed(0)
    loc = normalize(torch.tensor([0.55, -0.6, 0.58]), dim=-1)
    figure = plt.figure(figsize=(9, 3.3))
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 41), np.linspace(0, np.pi, 21))
    grid = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    for i, k in enumerate((1.0, 10.0, 100.0)):
        axes: Any = figure.add_subplot(1, 3, i + 1, projection="3d", computed_zorder=False)
        axes.plot_surface(*grid, color=PAPER, alpha=0.35, linewidth=0, shade=False, zorder=2)
        axes.plot_wireframe(*grid, color="#bbbbbb", linewidth=0.3, rstride=2, cstride=4, zorder=2)
        q = VonMisesFisher(loc, k)
        x = q.sample((600,)).numpy()
        azimuth, elevation = -10.0, 18.0
        towards = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), np.tan(np.radians(elevation))])
        near = x @ towards > 0
        axes.scatter(*x[~near].T, s=3, color=BLUE, alpha=0.3, depthshade=False, zorder=1)
        axes.scatter(*x[near].T, s=3, color=BLUE, alpha=0.9, depthshade=False, zorder=3)
        axes.quiver(0, 0, 0, *loc.numpy(), color=RED, linewidth=1.4, arrow_length_ratio=0.12, zorder=4)
        axes.set_title(f"$\\kappa = {k:g}$,  $A = {q.mean_cosine:.2f}$", fontsize=10, color=INK)
        axes.view_init(elevation, azimuth)
        axes.set_box_aspect((1, 1, 1), zoom=1.35)
        axes.set_axis_off()
    save(figure, folder, "vmf_sphere.png")


def density_of_cosine(w: np.ndarray, dimension: int, k: float) -> np.ndarray:
    """f(w), from the library's own log density and the area of the circle of latitude."""
    x = torch.zeros(len(w), dimension, dtype=torch.float64)
    x[:, 0], x[:, 1] = torch.from_numpy(w), torch.from_numpy(np.sqrt(1 - w**2))
    loc = torch.eye(dimension, dtype=torch.float64)[0]
    log_prob = VonMisesFisher(loc, k).log_prob(x).numpy()
    m = (dimension - 1) / 2
    latitude = math.log(2) + m * math.log(math.pi) - special.gammaln(m) + (m - 1) * np.log1p(-(w**2))
    return np.exp(log_prob + latitude)


def cosines(folder: Path, peers: dict[str, Any]) -> None:
    panels = 3 if "s-vae-pytorch" in peers else 2
    figure, axes = plt.subplots(1, panels, figsize=(3.3 * panels, 2.8), layout="constrained")
    w = np.linspace(-1, 1, 1203)[1:-1]
    shades = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, 5))
    for colour, k in zip(shades, (0.0, 1.0, 3.0, 10.0, 30.0), strict=True):
        axes[0].plot(w, density_of_cosine(w, 3, k), color=colour, label=f"$\\kappa = {k:g}$")
    axes[0].set(title="D = 3", ylim=(0, 5))
    for colour, d in zip(shades, (3, 10, 30, 100, 300), strict=True):
        axes[1].plot(w, density_of_cosine(w, d, 50.0), color=colour, label=f"D = {d}")
    axes[1].set(title="$\\kappa = 50$", ylim=(0, 12))
    if panels == 3:
        torch.manual_seed(0)
        loc = normalize(torch.ones(100), dim=-1).expand(20_000, 100)
        k = torch.full((20_000,), 50.0)
        drawn = {
            "ours": VonMisesFisher(loc, k).sample(),
            "s-vae-pytorch": peers["s-vae-pytorch"](loc, k[:, None]).sample(),
        }
        for colour, (name, x) in zip((BLUE, RED), drawn.items(), strict=True):
            cosine = (x * loc).sum(-1).numpy()
            axes[2].hist(cosine, 80, range=(0, 0.75), density=True, color=colour, alpha=0.45, label=f"{name}, drawn")
        axes[2].plot(w, density_of_cosine(w, 100, 50.0), color=INK, linewidth=1, label="exact")
        axes[2].set(title="20,000 draws, D = 100, $\\kappa = 50$", xlim=(0, 0.75))
    for ax in axes:
        ax.set(xlabel="cosine with the location")
        ax.legend(fontsize=7, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("density")
    save(figure, folder, "vmf_cosine.png")


def our_kl(dimension: int, k: float) -> float:
    loc = torch.eye(1, dimension, dtype=torch.float64)[0]
    return kl_divergence(VonMisesFisher(loc, k), HypersphericalUniform(dimension)).item()


def scipys_kl(dimension: int, k: float) -> float:
    twin: Any = stats.vonmises_fisher(np.eye(1, dimension)[0], k)  # pyright: ignore[reportArgumentType]
    log_area = math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)
    return log_area - twin.entropy()


def accuracy(folder: Path, peers: dict[str, Any]) -> None:
    """Relative error of KL(vMF || uniform) against mpmath, float64 throughout.

    Grey: NaN, infinite or refused; hatched: not tried.
    """
    contenders: dict[str, Errors] = {"ours": our_kl, "SciPy": scipys_kl}
    if "s-vae-pytorch" in peers:
        import hyperspherical_vae.distributions as theirs  # pyright: ignore[reportMissingImports]

        def s_vae_kl(dimension: int, k: float) -> float:
            loc = torch.eye(1, dimension, dtype=torch.float64)
            q = theirs.VonMisesFisher(loc, torch.tensor([[k]], dtype=torch.float64))
            return kl_divergence(q, theirs.HypersphericalUniform(dimension - 1)).item()

        contenders["s-vae-pytorch"] = s_vae_kl
    if "pythae" in peers:
        model = peers["pythae"]
        contenders["pythae"] = lambda d, k: model._compute_kl(d, torch.tensor([[k]], dtype=torch.float64)).item()
    rows = json.loads(REFERENCE.read_text())["radial"]
    dimensions_at = Counter(row[1] for row in rows)
    concentrations = sorted(k for k, count in dimensions_at.items() if count > 1)  # of the grid, not the random points
    grid = [row for row in rows if row[1] in concentrations]
    dimensions = sorted({row[0] for row in grid})
    figure, axes = plt.subplots(1, len(contenders), figsize=(2.9 * len(contenders), 3.4), layout="constrained")
    colours = ListedColormap(plt.get_cmap("viridis_r")(np.linspace(0, 1, len(DIGITS) - 1)))
    colours.set_bad("#c8c8c8")
    image: Any = None
    for ax, (name, kl) in zip(axes, contenders.items(), strict=True):
        errors = np.full((len(dimensions), len(concentrations)), np.nan)
        tried = [row for row in grid if name != "SciPy" or row[0] <= MOST_OF_SCIPY]
        for row in tried:
            with suppress(ValueError, RuntimeError, OverflowError, MemoryError):
                error = abs(kl(int(row[0]), row[1]) / row[6] - 1)
                at = dimensions.index(row[0]), concentrations.index(row[1])
                errors[at] = np.log10(max(error, 1e-16)) if math.isfinite(error) else np.nan
        worst = np.nanmax(errors)
        lost = len(tried) - int(np.isfinite(errors).sum())
        image = ax.imshow(errors, cmap=colours, norm=BoundaryNorm(DIGITS, colours.N), aspect="auto", origin="lower")
        ax.set_title(f"{name}\nworst $10^{{{worst:.0f}}}$, {lost} of {len(tried)} no number", fontsize=9)
        highest = len({row[0] for row in tried}) - 0.5
        ax.axhspan(highest, len(dimensions) - 0.5, facecolor="white", edgecolor="#c8c8c8", hatch="///")
        names = [f"{k:,.0f}" if k >= 1 else f"1/{1 / k:,.0f}" for k in concentrations[::2]]
        ax.set_xticks(range(0, len(concentrations), 2), names, rotation=60, fontsize=7)
        ax.set_yticks(range(len(dimensions)), [f"{d:,.0f}" for d in dimensions] if ax is axes[0] else [], fontsize=7)
        ax.set_xlabel("concentration", fontsize=8)
    axes[0].set_ylabel("dimension", fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, ticks=DIGITS[1:-1])
    bar.set_label("log10 of the relative error", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save(figure, folder, "vmf_accuracy.png")


def found_peers() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with suppress(ImportError):
        from hyperspherical_vae.distributions import VonMisesFisher as Theirs  # pyright: ignore[reportMissingImports]

        found["s-vae-pytorch"] = Theirs
    with suppress(ImportError):
        from pythae.models.svae.svae_model import SVAE  # pyright: ignore[reportMissingImports]

        found["pythae"] = SVAE.__new__(SVAE)
    return found


def main(peer_path: tuple[Path, ...] = (), output: Path = ROOT / "docs" / "images") -> None:
    """Draw the pictures.

    Args:
        peer_path: folders that hold peers which are not installed.
        output: the folder of the pictures.
    """
    sys.path.extend(map(str, peer_path))
    warnings.simplefilter("ignore")  # the peers'
    peers = found_peers()
    sphere(output)
    cosines(output, peers)
    accuracy(output, peers)


if __name__ == "__main__":
    tyro.cli(main)
