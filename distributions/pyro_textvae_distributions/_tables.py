"""Tables that are made once in a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_MADE = SimpleNamespace()
"""What was made, an attribute each: these torch.compile reads when it comes to them, while a dictionary it reads whole
when it meets the first, and would miss what is made thereafter."""
_NAMES: dict[tuple[Any, ...], str] = {}
_NUMBERS = count()


def kept(make: Callable[..., T], *arguments: Any) -> T:
    """make(*arguments), made when first asked for, whatever the caller is doing then; arguments are hashable."""
    if torch.compiler.is_compiling():  # which may leave a size open: to ask for the length of its range settles it
        arguments = tuple(len(range(a)) if isinstance(a, int) else a for a in arguments)
    return getattr(_MADE, _name(make, *arguments))


@torch.compiler.assume_constant_result
def _name(make: Callable[..., Any], *arguments: Any) -> str:
    key = (make, *arguments)
    if key not in _NAMES:
        made = _apart(make, *arguments)
        name = f"table_{next(_NUMBERS)}"  # of its own, also where two threads make tables at once
        setattr(_MADE, name, made)
        _NAMES[key] = name
    return _NAMES[key]


@lru_cache(maxsize=1024)
def recent(make: Callable[..., T], *arguments: Any) -> T:
    """The same for what is small and quickly made, of a number that may be another next time: some are forgotten."""
    return _apart(make, *arguments)


def _apart(make: Callable[..., T], *arguments: Any) -> T:
    # In a thread of its own: inference mode, a default device, or a transform of torch.func would all leave their
    # mark on a tensor that outlives them, and all are of one thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make, *arguments).result()
