"""Tiny runs that the tests of training share, and processes to train them in that can be killed."""

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyro_textvae
from pyro_textvae.checkpoint import load_tensors
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run
from pyro_textvae.training import train

TINY: dict[str, Any] = dict(hidden=16, embedding=8, latent=4, batch_size=16, finish=False, progress=False)
CLOCKS = ("seconds", "cpu_seconds", "tokens_per_second")
"""What two runs of the same settings differ in."""

_ROOT = Path(__file__).parents[1]
_PROCESSES = multiprocessing.get_context("forkserver")


def some_texts(count: int = 120, seed: int = 0) -> list[str]:
    """Sentences of 2 to 8 of 30 words; the first words of a sentence name its theme."""
    generator = random.Random(seed)
    return [
        " ".join(
            generator.choices([f"w{i}" for i in range(10 * (n % 3), 10 * (n % 3) + 10)], k=generator.randint(2, 8))
        )
        for n in range(count)
    ]


def train_tiny(model: str, output: Path, data: Any = None, **options: Any) -> Run:
    settings: dict[str, Any] = TINY | {"epochs": 2} | options
    if model in recipes().of_bags:
        del settings["embedding"]
    return train(model, some_texts() if data is None else data, output=output, **settings)


def contents(directory: Path) -> dict[str, Any]:
    """All that a run holds, but for what clocks say: tensors, places, rows, settings."""
    found: dict[str, Any] = {}
    for name in ("best.safetensors", "last.safetensors"):
        tensors, state = load_tensors(directory / name)
        for key in CLOCKS:
            state.get("place", {}).pop(key, None)
        for row in state.get("rows", []):
            for key in CLOCKS:
                row.pop(key)
        found |= {f"{name} {key}": value for key, value in tensors.items()} | {f"{name} state": state}
    found["history"] = [{k: v for k, v in row.items() if k not in CLOCKS} for row in Run(directory).history]
    for name in ("corpus.json", "vocabulary.json"):
        found[name] = json.loads((directory / name).read_text())
    recipe = json.loads((directory / "recipe.json").read_text())
    recipe["training"].pop("checkpoint_seconds")
    return found | {"recipe": recipe}


def assert_identical(a: Path, b: Path) -> None:
    """Two runs are the same to the last bit."""
    one, other = contents(a), contents(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, other[name]) and value.dtype == other[name].dtype, name
        else:
            assert value == other[name], name


# Processes of their own. They are forked from a server that has imported everything, so each starts in no time.


def start(what: Any, *args: Any) -> BaseProcess:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (_ROOT, _ROOT / "distributions", _ROOT / "tests")))
    try:
        _PROCESSES.set_forkserver_preload(["tiny", "torch._dynamo"])  # which the first step of an optimiser imports
        process = _PROCESSES.Process(target=what, args=args, daemon=True)
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def train_until_killed(
    model: str, output: Path, options: dict[str, Any], renaming: int | None = None, done: bool = False
) -> None:
    """Train, saving after each step; die just before (or, `done`, after) the given renaming of a saved file."""
    torch.set_num_threads(1)
    replace, count = os.replace, 0

    def deadly(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if done:
            replace(source, target)
        if count == renaming:
            os.kill(os.getpid(), signal.SIGKILL)
        if not done:
            replace(source, target)

    os.replace = deadly
    train_tiny(model, output, resume=True, checkpoint_seconds=0.0, **options)


def train_with_small_files(output: Path, limit: int, said: Path) -> None:
    """Train one epoch; then go on where no file may grow beyond `limit` bytes, and write down what came of it."""
    torch.set_num_threads(1)
    train_tiny("vae", output, epochs=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        train_tiny("vae", output, epochs=3, resume=True)
    except OSError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said.write_text(f"{type(error).__name__}: {error}")


def train_until_interrupted(output: Path, said: Path) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        train_tiny("vae", output, epochs=500, checkpoint_seconds=0.0)
    except KeyboardInterrupt as stopped:
        said.write_text(str(stopped))
        sys.exit(130)


def use(directory: Path, texts: list[str], to: Path) -> None:
    """Open a run and write down what it makes of texts."""
    torch.set_num_threads(1)
    run = pyro_textvae.load(directory)
    np.savez(to, encode=run.encode(texts), assign=run.assign(texts), sample=np.array(run.sample(5)))
