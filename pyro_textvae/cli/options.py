"""`--set name=value`: options of the recipe, sizes, training and corpus, checked before anything is read."""

import inspect
import json
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

FLAGS = ("data", "output", "epochs", "seed", "device", "resume", "protocol", "init_from")
"""Options of train() that have a flag of their own."""

PYTHON = {"True": True, "False": False, "None": None}  # what JSON writes true, false and null


def parse(settings: Iterable[str], model: str) -> dict[str, Any]:
    """Options from `name=value` strings; values are numbers, true, false, null, JSON lists, or else strings.

    A name that nothing knows is left for train(), which says which may be meant. Raises ValueError.
    """
    known = every(model)
    options: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ValueError(f"--set {setting} came, but name=value is expected, as in --set hidden=256")
        if name in FLAGS:
            raise ValueError(f"--set {setting} came, but {name!r} has an option of its own: --{name}")
        if name in options:
            raise ValueError(f"--set gives {name!r} twice: {options[name]!r} and {text}; give it once")
        options[name] = value(text)
        kind, default = next((group[name] for group in known.values() if name in group), (Any, None))
        if not fits(options[name], kind):
            raise ValueError(
                f"--set {setting} came, but {name!r} is {describe(kind)}: its default is {name}={plain(default)}"
            )
    return options


def value(text: str) -> Any:
    """The JSON value that `text` is, or `text`.

    >>> value("0.8"), value("true"), value("None"), value("gru")
    (0.8, True, None, 'gru')
    """
    if text in PYTHON:
        return PYTHON[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def plain(value: Any) -> str:
    """A value as --set takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def every(model: str) -> dict[str, dict[str, tuple[Any, Any]]]:
    """What --set takes for a recipe: group -> name -> (type, default)."""
    from pyro_textvae.corpus import Corpus
    from pyro_textvae.recipes import recipes
    from pyro_textvae.size import Size
    from pyro_textvae.training import Training

    hidden = {"size", "vocabulary", "data", *FLAGS}
    groups = {"recipe": recipes()[model], "sizes": Size, "training": Training, "corpus": Corpus.open}
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for group, source in groups.items():
        hints = get_type_hints(source)
        found[group] = {
            name: (hints.get(name, Any), parameter.default)
            for name, parameter in inspect.signature(source).parameters.items()
            if name not in hidden
        }
    return found


def fits(value: Any, kind: Any) -> bool:
    """Whether a value may be of a type; what is not a number or a choice is for train() to judge."""
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, str | list if get_origin(kind) is Sequence else str) if kind is not Any else True


def describe(kind: Any) -> str:
    """A type in words.

    >>> describe(int | Literal["auto"])
    "a whole number or 'auto'"
    """
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(describe(each) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is Sequence:
        return 'a list such as ["act", "emotion"]'
    words = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null", str: "a string"}
    return words.get(kind, "a path")
