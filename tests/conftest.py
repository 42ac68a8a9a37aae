import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before torch starts its threads, and so that child processes inherit it: with two busy-waiting threads a small
# recurrent network on a shared CPU is many times slower than with one.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pyro
import pytest
import torch

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PYRO_TEXTVAE_DATA", ROOT.parent / "shared" / "data"))

torch.set_num_threads(1)
# Tests send Ctrl-C, which a shell has whatever it runs in the background ignore.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadline: the machine is shared. Derandomised: a failure is the same everywhere.
hypothesis.settings.register_profile("textvae", deadline=None, derandomize=True)
hypothesis.settings.load_profile("textvae")


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Each test starts from the same seed, with what Pyro and torch keep globally as it is after an import."""
    pyro.clear_param_store()
    pyro.enable_validation(__debug__)
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()
    pyro.enable_validation(__debug__)
    torch.set_default_dtype(torch.float32)
    if torch.are_deterministic_algorithms_enabled():  # asked first: to set it imports the compiler, for a second
        torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real corpora; a test that asks for it is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip(f"no real corpora at {DATA}: set PYRO_TEXTVAE_DATA to the folder that holds them")
    return DATA
