"""Options by the annotations of what takes them: which types there are, what fits one, and a type in words."""

import inspect
import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Kinds = dict[str, tuple[Any, Any]]
"""Name -> (type, default)."""


def kinds_of(source: Callable[..., Any]) -> Kinds:
    """The parameters of a function or dataclass; Any is the type of one without an annotation."""
    try:
        hints = get_type_hints(source)
    except NameError:  # names that only a type checker imports
        hints = {}
    parameters = inspect.signature(source).parameters.values()
    return {each.name: (hints.get(each.name, Any), each.default) for each in parameters}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value may be of a type: numbers, truth values, strings, paths, lists of strings, choices, None.

    Of another type, anything may be: what takes it has to judge.
    """
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if get_origin(kind) is Sequence:
        return isinstance(value, str | list | tuple)
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, os.PathLike) if get_origin(kind) is os.PathLike else True


def check(name: str, value: Any, kind: Any, default: Any) -> None:
    """Raise ValueError for a value that is not of its option's type.

    A wrong word for a choice is left to what chooses, which knows which may be meant.
    """
    choice = any(get_origin(each) is Literal for each in (kind, *get_args(kind)))
    if fits(value, kind) or (choice and isinstance(value, str)):
        return
    usual = "" if default is inspect.Parameter.empty else f" (its default is {default!r})"
    raise ValueError(f"{name!r} is {value!r}, but {describe(kind)} is needed{usual}")


def describe(kind: Any) -> str:
    """A type in words.

    >>> describe(int | Literal["auto"])
    "a whole number or 'auto'"
    """
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(describe(each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is Sequence and get_args(kind) == (float,):
        return "a list of numbers such as [0.25, 0.75]"
    if get_origin(kind) is Sequence:
        return 'a list such as ["act", "emotion"]'
    words = {int: "a whole number", float: "a number", bool: "true or false", type(None): "None", str: "a string"}
    return words.get(kind, "a path" if get_origin(kind) is os.PathLike else str(kind))
