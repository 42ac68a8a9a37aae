"""`--set name=value`: options of the recipe, sizes, training and corpus, checked before anything is read."""

import json
from collections.abc import Iterable
from typing import Any

from pyro_textvae.options import Kinds, describe, fits

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


def every(model: str) -> dict[str, Kinds]:
    """What --set takes for a recipe: group -> name -> (type, default)."""
    from pyro_textvae.training import options_of

    groups = {"recipe": "recipe", "size": "sizes", "training": "training", "corpus": "corpus"}
    return {
        groups[group]: {name: what for name, what in known.items() if name not in FLAGS}
        for group, known in options_of(model).items()
    }
