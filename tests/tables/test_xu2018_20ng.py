"""The document-modelling table: its rows, its lines that no run stands behind, and what is measured."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_textvae import load
from pyro_textvae.corpus import Corpus
from pyro_textvae.evaluation.documents import unigram
from pyro_textvae.tables import DocumentPerplexity, Row, engine, table
from pyro_textvae.tables.documents import CORPUS, NPMI, PER_DOCUMENT
from pyro_textvae.tables.documents import lda as lda_line
from pyro_textvae.tables.documents import unigram as unigram_line
from pyro_textvae.tables.xu2018_20ng import PROTOCOLS, XU2018_20NG

PAPER = {"fDARN 50": 917, "G-NVDM 50": 836, "G-NVDM 200": 852, "V-NVDM 25": 793, "V-NVDM 50": 830, "V-NVDM 200": 851}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Word counts of documents of two topics."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    (folder / "vocab.new").write_text("\n".join(f"w{i}" for i in range(1, 15)))
    for split, count in (("train", 120), ("valid", 20), ("test", 30)):
        lines = []
        for i in range(count):
            counts = random.multinomial(random.integers(5, 30), [1 / 7] * 7)
            pairs = [f"{word + 1 + 7 * (i % 2)}:{n}" for word, n in enumerate(counts) if n]
            lines.append(" ".join([str(i % 2), *pairs]))
        (folder / f"{split}.feat").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("row", XU2018_20NG.rows, ids=lambda row: row.name)
def test_every_row_can_be_trained_at_every_budget_under_either_protocol(row: Row, toy: Corpus):
    for budget in XU2018_20NG.budgets.values():
        for protocol in PROTOCOLS.values():
            engine._check(row, toy, {**budget.settings, **protocol, **row.given(updates=1000)})


def test_the_papers_numbers_stand_in_their_own_column_with_what_is_wrong_with_them():
    assert XU2018_20NG.published_columns == [("20NG", "PPL")]
    found = {row.name: int(row.published["20NG"]["PPL"]) for row in XU2018_20NG.rows if row.published}
    assert found == PAPER
    assert "mixes two perplexities" in XU2018_20NG.notes[0]
    assert [row.options["concentration"] for row in XU2018_20NG.rows if row.recipe == "v_nvdm"] == [100, 150, 150]


def test_the_table_has_lines_that_are_no_runs_beside_its_rows(documents: Path, tmp_path: Path, monkeypatch):
    small = replace(XU2018_20NG, fitted=(unigram_line(), lda_line(2)), timed="G-NVDM 50")
    asked: dict[str, Any] = dict(budget="smoke", seeds=1, progress=False, hidden=8)
    made = table(small, documents, tmp_path / "t", rows=["unigram", "G-NVDM 50", "fDARN 50"], **asked)
    assert [line.row.name for line in made.lines] == ["unigram", "fDARN 50", "G-NVDM 50"]
    first, fdarn, gaussian = made.lines
    run = load(gaussian.runs[0])
    corpus = run.corpus
    expected = unigram(corpus.splits["train"], corpus.splits["test"], len(corpus.vocabulary))
    assert first.measures[CORPUS].mean == pytest.approx(expected["perplexity_corpus_exact"])
    assert first.measures[PER_DOCUMENT].mean == pytest.approx(expected["perplexity_per_document_exact"])
    assert first.runs == () and first.verdicts == () and first.time_ratio is None
    for name in (CORPUS, PER_DOCUMENT, "kl_nats_per_sentence"):
        assert gaussian.measures[name].mean == run.metrics["test"][name]
    assert gaussian.measures[NPMI].mean == pytest.approx(run.describe_topics().npmi)
    assert load(fdarn.runs[0]).vae.prior.code == 50

    # The rest is added, and what is known is not asked for again.
    def never(corpus):
        raise AssertionError("the unigram line was known")

    again = replace(small, fitted=(replace(small.fitted[0], find=never), small.fitted[1]))
    more = table(again, documents, tmp_path / "t", rows=["lda-2", "unigram"], **asked)
    assert [line.row.name for line in more.lines] == ["unigram", "LDA 2", "fDARN 50", "G-NVDM 50"]
    assert more.lines[1].measures[CORPUS].mean < more.lines[0].measures[CORPUS].mean
    assert set(json.loads((tmp_path / "t" / "fitted.json").read_text())) == {"unigram", "LDA 2"}
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="was known"):  # not by this measure
        patch.setattr(DocumentPerplexity, "constants", lambda self: {"other": 1})
        table(again, documents, tmp_path / "t", rows=["unigram"], **asked)
    page = (tmp_path / "t" / "table.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("| unigram |")]
    assert f"{expected['perplexity_corpus_exact']:.2f}" in line and " 0.0 " not in line
    assert "| 836 |" in page and "Not measured yet: SBN 50, G-NVDM 25, G-NVDM 200" in page
    assert DocumentPerplexity().about({"samples": 2}) in page
    rows = list(csv.DictReader((tmp_path / "t" / "table.csv").read_text().splitlines()))
    assert [row["row"] for row in rows] == ["unigram", "LDA 2", "fDARN 50", "G-NVDM 50"]
    assert rows[0]["recipe"] == "unigram" and rows[0]["seconds_of_training"] == "" and rows[0]["epochs"] == ""
    assert rows[3]["published_20NG_PPL"] == "836"
    assert "unigram" in more.text() and json.dumps(more.data())


def test_a_row_that_is_not_there_is_refused_with_the_fitted_lines_among_those_that_are(documents: Path, tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"has no row 'unigrm' \(did you mean 'unigram'\?\); its rows are: unigram, LDA"
    ):
        table("xu2018-20ng", documents, tmp_path / "t", rows=["unigrm"], progress=False)
