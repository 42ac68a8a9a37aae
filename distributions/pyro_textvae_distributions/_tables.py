"""Tables that are made once in a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_MADE: dict[tuple[Any, ...], Any] = {}


def kept(make: Callable[..., T], *arguments: Any) -> T:
    """make(*arguments), made when first asked for, whatever the caller is doing then; arguments are hashable."""
    _make(make, *arguments)
    return _MADE[make, *arguments]  # a dictionary, which torch.compile reads as it is


@torch.compiler.assume_constant_result
def _make(make: Callable[..., Any], *arguments: Any) -> bool:
    if (make, *arguments) not in _MADE:
        _MADE[make, *arguments] = _apart(make, *arguments)
    return True


@lru_cache(maxsize=1024)
def recent(make: Callable[..., T], *arguments: Any) -> T:
    """The same for what is small and quickly made, of a number that may be another next time: some are forgotten."""
    return _apart(make, *arguments)


def _apart(make: Callable[..., T], *arguments: Any) -> T:
    # In a thread of its own: inference mode, a default device, or a transform of torch.func would all leave their
    # mark on a tensor that outlives them, and all are of one thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make, *arguments).result()
