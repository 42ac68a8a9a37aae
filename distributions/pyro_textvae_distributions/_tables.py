"""Tables that are made once in a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_MADE = SimpleNamespace()
"""What was made, an attribute each: these torch.compile reads when it comes to them, while a dictionary it reads whole
when it meets the first, and would miss what is made thereafter."""
_NAMES: dict[tuple[Any, ...], str] = {}
"""Under which name what was made of (make, *arguments) is there."""
_NUMBERS = count()


def kept(make: Callable[..., T], *arguments: Any) -> T:
    """make(*arguments), made when first asked for, whatever the caller is doing then; arguments are hashable."""
    if not torch.compiler.is_compiling():
        return _made(make, *arguments)
    # Compiling may leave a size open: to ask for the length of its range settles it.
    arguments = tuple(len(range(a)) if isinstance(a, int) else a for a in arguments)
    return getattr(_MADE, _name(make, *arguments))


@torch.compiler.assume_constant_result
def _name(make: Callable[..., Any], *arguments: Any) -> str:
    key = (make, *arguments)
    if key not in _NAMES:
        made = _made(make, *arguments)
        name = f"table_{next(_NUMBERS)}"  # of its own, also where two threads make tables at once
        setattr(_MADE, name, made)
        _NAMES[key] = name
    return _NAMES[key]


@cache
def _made(make: Callable[..., T], *arguments: Any) -> T:
    return _apart(make, *arguments)


@lru_cache(maxsize=1024)
def recent(make: Callable[..., T], *arguments: Any) -> T:
    """The same for what is small and quickly made, of a number that may be another next time: some are forgotten."""
    return _apart(make, *arguments)


def unrecorded() -> AbstractContextManager[Any]:
    """Where autograd neither records an operation nor looks whether it should.

    No tensor that is made here may be saved for a backward pass; one that is computed from it afterwards may.
    """
    return nullcontext() if torch.compiler.is_compiling() else torch.inference_mode()


def recorded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in `dtype` that may be saved for a backward pass, of one that was made `unrecorded`."""
    return x.clone() if x.dtype == dtype else x.to(dtype)


def _apart(make: Callable[..., T], *arguments: Any) -> T:
    # In a thread of its own: inference mode, a default device, or a transform of torch.func would all leave their
    # mark on a tensor that outlives them, and all are of one thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make, *arguments).result()
