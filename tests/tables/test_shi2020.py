"""The rows of the DEM-VAE tables: that each can be trained, and what the measure of them finds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pyro_textvae import load
from pyro_textvae.corpus import Corpus
from pyro_textvae.tables import Generation, Row, Table, engine, table
from pyro_textvae.tables.generation import ELBO, NLL, SCORED
from pyro_textvae.tables.shi2020 import DIALOG, PROTOCOLS, PTB, SHI2020_DIALOG, SHI2020_PTB
from tests.tiny import some_texts

TABLES = (SHI2020_PTB, SHI2020_DIALOG)
REVERSE, SAMPLED = "perplexity_reverse_greedy", "perplexity_reverse_sample"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of splits with the label columns of DailyDialog."""
    folder = tmp_path_factory.mktemp("labelled")
    for number, split in enumerate(("train", "valid", "test")):
        texts = some_texts(100 if split == "train" else 30, seed=number)
        rows = [
            {"text": text, "act": str(len(text.split()) % 3), "emotion": str(len(text.split()) % 2)} for text in texts
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.mark.parametrize(
    ("which", "row"), [(which, row) for which in TABLES for row in which.rows], ids=lambda each: each.name
)
def test_every_row_can_be_trained_at_every_budget(which: Table, row: Row, labelled: Path):
    corpus = Corpus.open(labelled)
    for budget in which.budgets.values():
        engine._check(row, corpus, {**budget.settings, **PROTOCOLS["modern"], **row.given(updates=1000)})


def test_recalled_numbers_stand_in_their_rows_and_are_said_to_be_recalled():
    for which, published in ((SHI2020_PTB, PTB), (SHI2020_DIALOG, DIALOG)):
        assert {row.name: dict(row.published) for row in which.rows if row.published} == published
        assert all("recalled" in corpus for corpus, _ in which.published_columns)
    assert all(
        row.seeds >= 3 for row in SHI2020_PTB.choose(["GM-VAE", "DGM-VAE", "DGM-VAE+MI", "vMFM-VAE", "DvMFM-VAE"])
    )


def test_what_is_measured_is_what_the_runs_own_measures_say(labelled: Path, tmp_path: Path):
    rows = SHI2020_DIALOG.choose(["RNN-LM", "AE", "DGM-VAE+MI", "DCM-VAE told"])
    made = table(
        replace(SHI2020_DIALOG, rows=rows, timed="AE", measure=Generation()),
        labelled,
        tmp_path / "t",
        budget="smoke",
        seeds=1,
        progress=False,
        hidden=8,
        embedding=8,
    )
    language_model, ae, dgm, told = made.lines
    assert NLL in language_model.measures and SAMPLED in language_model.measures
    assert REVERSE not in language_model.measures  # it says one sentence alone, greedily
    assert "reconstruction_bleu_greedy_from_mean" not in language_model.measures
    assert NLL not in ae.measures and "reconstruction_bleu_greedy_from_mean" in ae.measures
    run = load(dgm.runs[0])
    assert dgm.measures[SAMPLED].mean == run.generation.metrics["perplexity_reverse"]
    assert dgm.measures[REVERSE].mean not in (dgm.measures[SAMPLED].mean, language_model.measures[SAMPLED].mean)
    assert run.generation.settings["sentences"] == 80 and run.generation.settings["decoding"] == "sample"
    words = "generated_words_per_sentence"
    assert dgm.measures[words].mean == run.generation.metrics[words]
    for name in ("dispersion_nats_per_sentence", "information_c_nats", ELBO):
        assert dgm.measures[name].mean == run.metrics["test"][name]
    for name in ("accuracy_act", "accuracy_emotion_majority"):
        assert told.measures[name].mean == load(told.runs[0]).metrics["test"][name] and name not in dgm.measures
    # What it was told it cannot be said to have found.
    assert "homogeneity_act" in dgm.measures and "homogeneity_act" not in told.measures
    assert "homogeneity_act" in load(told.runs[0]).metrics["test"]
    said = Generation().about({"samples": 2})
    assert "80 sentences" in said and said in (tmp_path / "t" / "table.md").read_text(encoding="utf-8")


def test_the_tighter_bound_is_the_elbo_less_what_importance_samples_gain_on_some_sentences(
    labelled: Path, tmp_path: Path
):
    rows = SHI2020_DIALOG.choose(["RNN-LM", "VAE"])
    asked = dict(budget="smoke", seeds=1, samples=40, progress=False, hidden=8, embedding=8, latent=2)
    asked |= {"learning_rate": 0.05, "epochs": 8}
    made = table(replace(SHI2020_DIALOG, rows=rows, timed="VAE"), labelled, tmp_path / "t", **cast(Any, asked))
    language_model, vae = made.lines
    assert language_model.measures[NLL].mean == language_model.measures[ELBO].mean
    run = load(vae.runs[0])
    assert len(run.corpus.split("test")) < SCORED  # all of them: what differs is which z each sentence draws
    bound = run.evaluate("test", tempered=40)["nll_importance_tempered_nats_per_sentence"]
    assert vae.measures[NLL].mean == pytest.approx(bound, abs=0.6)  # 0.2: the ELBO is by one draw for each of 30


def test_text_is_decoded_in_the_ways_that_a_table_asks_for(labelled: Path, tmp_path: Path):
    assert SHI2020_PTB.measure == Generation() and SHI2020_DIALOG.measure == Generation(("sample",))
    rows = SHI2020_DIALOG.choose(["VAE"])
    tiny: dict[str, Any] = dict(budget="smoke", seeds=1, progress=False, hidden=8, embedding=8)
    (line,) = table(replace(SHI2020_DIALOG, rows=rows, timed="VAE"), labelled, tmp_path / "t", **tiny).lines
    assert SAMPLED in line.measures and REVERSE not in line.measures
    assert load(line.runs[0]).generation.settings["decoding"] == "sample"
    said = (tmp_path / "t" / "table.md").read_text(encoding="utf-8")
    assert "from codes of the prior, sampled word by word; lower" in said
    assert "sampled word by word or decoded greedily; lower" in Generation().about({"samples": 2})
