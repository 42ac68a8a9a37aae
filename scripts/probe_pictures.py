"""The pictures and tables of docs/probes.md, from runs on the embedded corpus that are trained on the way.

    python scripts/probe_pictures.py --runs runs/probes

Runs that are there already are not trained again. It prints the tables.
"""

from pathlib import Path
from typing import Any

import tyro

import pyro_textvae
from pyro_textvae import Run, figures
from pyro_textvae.evaluation import BagOfWordsProbe, OrderSensitivity
from pyro_textvae.evaluation.probes import PROBABILITIES
from pyro_textvae.figures.style import save

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = dict(hidden=64, embedding=32, latent=8, epochs=6, batch_size=64, learning_rate=0.01, seed=0)
CONCENTRATIONS = (5.0, 10.0, 20.0, 40.0)
SETTINGS: dict[str, dict[str, Any]] = {"no word dropout": {}, "word dropout 0.5": {"word_dropout": 0.5}}


def trained(folder: Path, name: str, model: str, **options: Any) -> Run:
    directory = folder / name
    if not (directory / "best.safetensors").exists():
        pyro_textvae.train(model, output=directory, finish=False, **SMALL, **options)
    run = pyro_textvae.load(directory)
    if "test" not in run.metrics:
        run.evaluate("test")
    return run


def main(runs: Path = Path("runs/probes"), output: Path = ROOT / "docs" / "images") -> None:
    """Train, measure and draw.

    Args:
        runs: the folder of the runs
        output: the folder of the pictures
    """
    save(figures.concentration(), output / "concentration.png")
    gaussian = {
        "Gaussian": trained(runs, "vae", "vae"),
        "Gaussian, KL weight 0.2": trained(runs, "beta", "beta_vae", beta=0.2),
    }
    swept = {
        name: [trained(runs, f"vmf-{k:g}-{i}", "vmf_vae", concentration=k, **options) for k in CONCENTRATIONS]
        for i, (name, options) in enumerate(SETTINGS.items())
    }
    save(figures.perplexity_map(swept), output / "perplexity_map.png")
    spherical = {f"vMF, {run.recipe['options']['concentration']:g}": run for run in swept["no word dropout"]}
    save(figures.tradeoff(gaussian | spherical), output / "tradeoff.png")
    probed = gaussian | {name: spherical[name] for name in ("vMF, 5", "vMF, 20")}
    measured = {name: run.order_sensitivity() for name, run in probed.items()}
    save(figures.order_sensitivity(measured), output / "order_sensitivity.png")
    rows = {name: run.order_sensitivity(how="rows") for name, run in probed.items()}
    bags = {name: run.probe_bag_of_words() for name, run in probed.items()}
    for name in probed:
        print(f"\n{name}\n{bags[name]}\n{measured[name]}\n{rows[name]}")
    print("\n".join(["", *_of_concentrations(), "", *_of_bags(bags), "", *_of_orders(measured, rows)]))


def _of_concentrations() -> list[str]:
    pairs = zip(*(figures.concentrated(dimension, (5, 25, 65, 105, 185, 265)) for dimension in (25, 100)), strict=True)
    return [
        f"| {pair[0].concentration:g} | "
        + " | ".join(f"{row.mean_cosine:.3f} | {row.kl_nats:.3f} | {row.kl_as_released:.3f}" for row in pair)
        + " |"
        for pair in pairs
    ]


def _of_bags(bags: dict[str, BagOfWordsProbe]) -> list[str]:
    return [
        f"| {name} | "
        + " | ".join(
            f"{each.cosine:.3f} ± {each.standard_error:.3f} | {each.constant:.3f}"
            for each in (found.code_to_bag, found.bag_to_code)
        )
        + " |"
        for name, found in bags.items()
    ]


def _of_orders(measured: dict[str, OrderSensitivity], rows: dict[str, OrderSensitivity]) -> list[str]:
    at = PROBABILITIES.index(0.1)
    return [
        f"| {name} | "
        + " | ".join(f"{each.cosines[at]:.3f} ({each.moved[at]:.0%})" for each in (measured[name], rows[name]))
        + " |"
        for name in measured
    ]


if __name__ == "__main__":
    tyro.cli(main)
