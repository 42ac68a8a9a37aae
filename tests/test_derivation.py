"""docs/derivation.md: its names exist, its Python runs, and what it derives holds where all is enumerable."""

import importlib
import re
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from small import a_batch
from test_readme import blocks

import pyro_textvae
from pyro_textvae.batch import Batch
from pyro_textvae.objective import TextELBO
from pyro_textvae.recipes import recipes
from pyro_textvae.terms import KL, Reconstruction

PAGE = Path(__file__).parents[1] / "docs" / "derivation.md"
MODULES = {path.stem for path in Path(pyro_textvae.__path__[0]).iterdir()}


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def names_of(text: str) -> set[str]:
    """Dotted names that begin with a module of ours, in prose, tables and margins."""
    found = re.findall(r"(?<![\w./])[a-z_]+(?:\.[A-Za-z_]+)+(?!\w|\.\w)", re.sub(r"\]\([^)]*\)", "]", text))
    return {name for name in found if name.partition(".")[0] in MODULES}


def resolve(name: str) -> object:
    """What a dotted name below pyro_textvae stands for; raises AttributeError for nothing."""
    thing: object = pyro_textvae
    for place, part in enumerate(name.split("."), start=1):
        path = ".".join(["pyro_textvae", *name.split(".")[:place]])
        thing = getattr(thing, part, None) or importlib.import_module(path)
    return thing


def test_every_name_in_the_margin_exists(text: str):
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    names = names_of(prose)
    assert {"objective.Draw.kl", "terms.ImportanceWeightedELBO", "posteriors.OneHotPosterior"} <= names
    missing = []
    for name in sorted(names):
        try:
            resolve(name)
        except (AttributeError, ImportError):
            missing.append(name)
    assert not missing, f"docs/derivation.md names {missing}, which pyro_textvae does not have"


def test_every_other_name_in_code_is_a_recipe(text: str):
    codes = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)))
    others = codes - names_of(" ".join(codes)) - {"pyro_textvae"}
    assert others and others <= set(recipes())


def test_a_name_that_is_none_would_be_found():
    assert names_of("`terms.NoSuchTerm`, and objective.Draw.nothing at the end of a line.") == {
        "terms.NoSuchTerm",
        "objective.Draw.nothing",
    }
    for name in ("terms.NoSuchTerm", "objective.Draw.nothing"):
        with pytest.raises((AttributeError, ImportError)):
            resolve(name)


def test_its_python_runs_and_so_each_item_of_the_menu_trains(text: str, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(text) if block.language == "python"]
    exec(compile(block.code, str(PAGE), "exec"), {})
    said = capsys.readouterr().out.split()
    assert said[::2] == ["vae", "vmf_vae", "dvae", "iwae"]
    assert all(0 < float(nll) < 100 for nll in said[1::2])


def test_the_links_of_the_page_lead_to_files(text: str):
    targets = re.findall(r"\]\(([^)#\s]+)\)", text)
    assert targets and not [target for target in targets if not (PAGE.parent / target).exists()]


def test_the_elbo_misses_log_p_by_the_divergence_that_the_derivation_begins_with():
    """Every line of it, of a discrete z and x that can be enumerated, to rounding."""
    random = torch.Generator().manual_seed(0)
    prior, *tables = (torch.randn(n, 4, generator=random).double().softmax(-1) for n in (1, 6, 5))
    p_z, likelihood, q = prior[0], tables[0] / tables[0].sum(0), tables[1]  # (4,), p(x|z) (6, 4), q(z|x) (5, 4)
    x = torch.tensor([0, 3, 5, 3, 1])

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", 5, dim=-1):
            z = pyro.sample("z", dist.Categorical(p_z))
            pyro.sample("x", dist.Categorical(likelihood.T[z]), obs=x)

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", 5, dim=-1):
            pyro.sample("z", dist.Categorical(q), infer={"enumerate": "parallel"})

    elbo = TextELBO(Reconstruction(), KL(), max_plate_nesting=1)
    draw = elbo.draw(model, guide, a_batch())
    log_p_x = (likelihood @ p_z).log()[x]
    posterior = likelihood[x] * p_z / (likelihood @ p_z)[x, None]
    to_posterior = (q * (q / posterior).log()).sum(-1)
    exact: dict[str, Any] = dict(rtol=0.0, atol=1e-14)
    torch.testing.assert_close(to_posterior, draw.kl("z") - draw.log_likelihood() + log_p_x, **exact)
    torch.testing.assert_close(-elbo.weigh(draw), log_p_x - to_posterior, **exact)
    assert (to_posterior > 0.01).all()
