"""What the benchmarks share: sentences as long as Penn Treebank's, paired ratios of CPU time, peak memory."""

import ctypes
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import pyro
import torch

from pyro_textvae.corpus import Split

VOCABULARY = 10_000
SENTENCES_PER_BATCH = 32

# Penn Treebank's 42,068 training sentences have 21.1 words, standard deviation 10.1, at most 82; a gamma distribution
# of these moments has their quartiles (14, 20, 27) and their last percentile within 3 words.
_MEAN_WORDS, _DEVIATION_WORDS, _MOST_WORDS = 21.1, 10.14, 82

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def prepare() -> None:
    """One thread (two that wait for each other burn CPU time in waiting), no validation, a seed."""
    torch.set_num_threads(1)
    pyro.enable_validation(False)
    torch.manual_seed(0)


def keep_memory() -> None:
    """Have glibc keep freed memory instead of giving it back to the system, which zeroes every page that it lends.

    What is given back otherwise depends on what the process has freed before, and with it the time of tensors of some
    MiB. Where the C library is another, nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not (mallopt(_TRIM_THRESHOLD, 1 << 30) and mallopt(_MMAP_THRESHOLD, 1 << 25)):
        raise RuntimeError("the C library refuses to keep freed memory")


def sentences(count: int, seed: int = 0) -> Split:
    """Sentences of random words (frequencies fall off as 1 / rank), with lengths distributed as Penn Treebank's."""
    random = np.random.default_rng(seed)
    shape, scale = (_MEAN_WORDS / _DEVIATION_WORDS) ** 2, _DEVIATION_WORDS**2 / _MEAN_WORDS
    words = np.clip(np.rint(random.gamma(shape, scale, count)), 1, _MOST_WORDS).astype(np.int64)
    frequencies = 1 / np.arange(1, VOCABULARY - 3)
    tokens = 4 + random.choice(VOCABULARY - 4, int(words.sum()), p=frequencies / frequencies.sum())
    return Split(tokens.astype(np.int32), np.concatenate([[0], np.cumsum(words)]))


@dataclass(frozen=True)
class Arm:
    """One way to make a training step. `before` puts gradients as this way finds them, outside the measurement."""

    name: str
    step: Callable[[Any], object]
    before: Callable[[], None]

    def seconds(self, batch: Any) -> float:
        """CPU seconds of one step on `batch`, or whatever it is that the step takes."""
        self.before()
        began = time.process_time()
        self.step(batch)
        return time.process_time() - began


@dataclass(frozen=True)
class Ratio:
    """CPU time of one arm over another's, from pairs that lie next to each other in time."""

    name: str
    median: float
    lower_quartile: float
    upper_quartile: float
    pairs: int

    @classmethod
    def of(cls, name: str, ratios: Sequence[float]) -> "Ratio":
        lower, median, upper = quantiles(ratios, n=4, method="inclusive")
        return cls(name, median, lower, upper, len(ratios))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.lower_quartile:.3f}, {self.upper_quartile:.3f}]"


def abba(first: Arm, second: Arm, batch: Any) -> tuple[float, float]:
    """CPU seconds of two steps of each arm in the order first, second, second, first: a linear drift cancels."""
    a = first.seconds(batch)
    b = second.seconds(batch)
    b += second.seconds(batch)
    a += first.seconds(batch)
    return a, b


def paired(name: str, first: Arm, second: Arm, batches: Iterable[Any]) -> Ratio:
    """second / first, one pair of double steps for every batch."""
    return Ratio.of(name, [b / a for a, b in (abba(first, second, batch) for batch in batches)])


def peak_mebibytes(arm: Arm, batch: Any) -> float:
    """The most memory that the process holds during two steps, MiB; NaN where the kernel does not say."""
    status = Path("/proc/self/status")
    try:
        # The process's peak as getrusage gives it never falls; this one the kernel resets on request.
        Path("/proc/self/clear_refs").write_text("5")
        for _ in range(2):
            arm.seconds(batch)
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float("nan")
    return int(line.split()[1]) / 1024


def machine() -> str:
    """The machine and the versions, in words."""
    capability = torch.backends.cpu.get_cpu_capability()
    amx = torch.cpu._is_amx_tile_supported() if hasattr(torch.cpu, "_is_amx_tile_supported") else False
    return (
        f"{os.cpu_count()} x {platform.machine()} ({capability}{', AMX' if amx else ''}), 1 thread, "
        f"Python {platform.python_version()}, torch {torch.__version__}, pyro-ppl {pyro.__version__}"
    )


def row(cells: Iterable[object]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def write_json(path: Path | None, results: Sequence[object]) -> None:
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), "results": [asdict(r) for r in results]}, indent=2))  # pyright: ignore[reportArgumentType]
