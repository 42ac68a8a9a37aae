"""The rows of the BN-VAE table: that they are the paper's, and that each can be trained."""

import pytest

from pyro_textvae.corpus import Corpus
from pyro_textvae.tables import Row, engine
from pyro_textvae.tables.zhu2020 import COMMON, PRETRAINED, PROTOCOLS, SCRATCH, ZHU2020, ZHU2020_LABELS


def number(printed: str) -> float | None:
    return None if printed == "–" else float(printed.removeprefix("≤"))


def test_the_table_has_both_blocks_of_the_paper():
    assert len(SCRATCH) == 14 and len(PRETRAINED) == 6 and ZHU2020.rows == SCRATCH + PRETRAINED
    assert all(row.init_from == "ae" and row.name.startswith("AE+") for row in PRETRAINED)
    assert not any(row.init_from for row in SCRATCH)
    assert ZHU2020.choose([ZHU2020.timed])


@pytest.mark.parametrize("row", ZHU2020.rows, ids=lambda row: row.folder)
def test_every_row_has_its_numbers_on_both_corpora_and_they_are_consistent(row: Row):
    assert set(row.published) == {"Yahoo", "Yelp"}
    for corpus, (low, high) in (("Yahoo", (326, 334)), ("Yelp", (351, 362))):
        printed = row.published[corpus]
        nll, kl, mi, au = (number(printed[measure]) for measure in ("NLL", "KL", "MI", "AU"))
        assert nll is not None and low < nll < high
        assert au is None or 0 <= au <= 32
        assert kl is None or mi is None or kl >= mi
        if row.recipe == "bn_vae":  # its floor: 32 gamma^2 / 2
            assert kl is not None and kl > 16 * row.options["gamma"] ** 2
        if row.recipe == "delta_vae":
            assert kl is not None and kl >= 32 * row.options["delta"]


def test_the_rows_that_the_claims_rest_on_are_repeated():
    assert {row.name for row in SCRATCH if row.seeds >= 3} == {
        *("LSTM-LM", "VAE", "FB (4)", "FB (5)", "vMF-VAE (13)", "BN-VAE (0.6)", "BN-VAE (0.7)")
    }


def test_the_table_of_labels_has_the_eight_rows_of_the_paper_at_five_sizes():
    assert len(ZHU2020_LABELS.rows) == 8
    for row in ZHU2020_LABELS.rows:
        accuracies = [float(each) for each in row.published["Yelp (sampled)"].values()]
        assert len(accuracies) == 5 and all(60 < each < 96 for each in accuracies)


@pytest.mark.parametrize("row", (*ZHU2020.rows, *ZHU2020_LABELS.rows), ids=lambda row: row.folder)
def test_every_row_can_be_trained_at_every_budget(row: Row, toy: Corpus):
    for budget in ZHU2020.budgets.values():
        assert {name: budget.settings[name] for name in COMMON} == COMMON
        engine._check(row, toy, {**budget.settings, **PROTOCOLS["modern"], **row.given(updates=1000)})
