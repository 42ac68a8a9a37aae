from collections.abc import Callable
from typing import Any

import pytest

from pyro_textvae import Run
from pyro_textvae.training import train


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs on the embedded corpus with the SETTINGS of the module, each trained once and evaluated on valid."""
    folder = tmp_path_factory.mktemp("runs")
    known: dict[str, Run] = {}

    def run(recipe: str, **options: Any) -> Run:
        name = f"{recipe} {sorted(options.items())}"
        if name not in known:
            settings = request.module.SETTINGS | options
            known[name] = train(recipe, "toy", output=folder / str(len(known)), **settings)
            known[name].evaluate("valid")
        return known[name]

    return run
