"""The rows of the vMF-VAE tables: that each can be trained, what is measured, and the corrected perplexities."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyro_textvae import load
from pyro_textvae.corpus import Corpus
from pyro_textvae.tables import Row, Table, engine, table
from pyro_textvae.tables.xu2018 import CORRECTED, PROTOCOLS, XU2018_CONCENTRATIONS, XU2018_PTB, XU2018_YELP
from tests.tiny import some_texts

SCRIPT = Path(__file__).parents[2] / "scripts" / "xu2018_corrected.py"
spec = importlib.util.spec_from_file_location("xu2018_corrected", SCRIPT)
assert spec and spec.loader
xu2018_corrected = importlib.util.module_from_spec(spec)
spec.loader.exec_module(xu2018_corrected)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of splits with the label column of the Yelp rows."""
    folder = tmp_path_factory.mktemp("rated")
    for number, split in enumerate(("train", "valid", "test")):
        texts = some_texts(100 if split == "train" else 30, seed=number)
        rows = [{"text": text, "stars": str(1 + len(text.split()) % 2)} for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def corpus(rated: Path) -> Corpus:
    return Corpus.open(rated)


@pytest.mark.parametrize(
    ("which", "row"),
    [(which, row) for which in (XU2018_PTB, XU2018_YELP, XU2018_CONCENTRATIONS) for row in which.rows],
    ids=lambda each: each.name,
)
def test_every_row_can_be_trained_at_every_budget(which: Table, row: Row, corpus: Corpus):
    for budget in which.budgets.values():
        engine._check(row, corpus, {**budget.settings, **PROTOCOLS["modern"], **row.given(updates=1000)})


@pytest.mark.parametrize(
    ("setting", "which", "name"),
    [
        ("PTB", XU2018_PTB, "vMF-VAE"),
        ("PTB, inputless", XU2018_PTB, "vMF-VAE inputless"),
        ("PTB, told a bag of words", XU2018_PTB, "vMF-VAE-BoW"),
        ("PTB, told a bag of words, inputless", XU2018_PTB, "vMF-VAE-BoW inputless"),
        ("Yelp", XU2018_YELP, "vMF-VAE"),
        ("Yelp, inputless", XU2018_YELP, "vMF-VAE inputless"),
    ],
)
def test_corrected_perplexities_are_the_scripts(setting: str, which: Table, name: str):
    printed, tokens, settings = xu2018_corrected.PUBLISHED[setting]
    (row,) = which.choose([name])
    assert (row.options["latent"], row.options["concentration"]) == settings[0]
    ((corpus, published),) = row.published.items()
    assert published["PPL"] == str(printed)
    length = {xu2018_corrected.PTB: 21.1, xu2018_corrected.YELP: 49.5}[tokens]
    bounds = []
    for dimension, concentration in settings:
        torch.manual_seed(0)
        charged, _, bound = xu2018_corrected.corrected(dimension, concentration, printed, tokens)
        bounds.append(round(bound))
        # A printed KL is one of a token, in two decimals, times the mean length.
        allowed = float(published["KL"]) == pytest.approx(charged / tokens * length, abs=0.011 * length)
        assert allowed or (dimension, concentration) == xu2018_corrected.NAMED_BY_THE_AUTHOR
    low, high = min(bounds), max(bounds)
    said = str(low) if low == high else f"{low} to {high}"
    assert CORRECTED[corpus][published["PPL"]] == said
    assert any(f"{printed} becomes {said}" in note for note in which.notes)


def test_one_draw_is_its_own_mean_and_many_tell_more():
    kl = xu2018_corrected.kl(10, torch.tensor(20.0, dtype=torch.float64)).item()
    torch.manual_seed(0)
    rates = [xu2018_corrected.rate_of_mean(10, 20.0, draws, times=2000) for draws in (1, 3, 10)]
    assert rates[0] == pytest.approx(kl, rel=1e-9) and rates[0] < rates[1] < rates[2]


def test_what_is_measured_is_what_the_runs_own_measures_say(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, split in enumerate(("train", "valid", "test")):
        (folder / f"{split}.txt").write_text("\n".join(some_texts(100 if split == "train" else 30, seed=number)))
    rows = XU2018_PTB.choose(["RNNLM", "vMF-VAE inputless learnt (exact)"])
    made = table(replace(XU2018_PTB, rows=rows), folder, tmp_path / "t", budget="smoke", seeds=1, progress=False)
    language_model, vmf = made.lines
    released = "perplexity_xu2018_released_no_bound"
    assert released not in language_model.measures and "kl_nats_per_sentence" in language_model.measures
    for name in (released, "perplexity_importance_weighted", "perplexity_importance_tempered", "concentration_mean"):
        assert vmf.measures[name].mean == load(vmf.runs[0]).metrics["test"][name]
    assert "no bound" in (tmp_path / "t" / "table.md").read_text(encoding="utf-8")


def test_rows_that_are_told_a_label_count_its_shares_in_the_corpus(rated: Path, tmp_path: Path):
    told = replace(XU2018_YELP, rows=XU2018_YELP.choose(["vMF-VAE"]))
    made = table(told, rated, tmp_path / "t", budget="smoke", seeds=1, progress=False)
    shares = load(made.lines[0].runs[0]).recipe["options"]["label_shares"]
    assert len(shares) == 2 and sum(shares) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="row 'vMF-VAE': label='stars' is no label column"):
        table(told, "toy", tmp_path / "absent", budget="smoke", seeds=1, progress=False)
