import dataclasses

import pytest
from small import a_size

from pyro_textvae.size import CELLS, INITIALISATIONS, Z_ENTERS, Size


def test_a_size_needs_only_the_vocabulary():
    assert Size(100).vocabulary == 100


def test_features_are_doubled_by_reading_backwards():
    assert a_size(hidden=8).features == 8
    assert a_size(hidden=8, bidirectional=True).features == 16


@pytest.mark.parametrize("name", ["vocabulary", "embedding", "hidden", "latent", "layers"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "8"])
def test_a_width_that_is_no_whole_number_of_at_least_one_is_refused_by_its_name(name, value):
    with pytest.raises(ValueError, match=rf"'{name}' is {value!r}, but a size is a whole number of at least 1"):
        a_size(**{name: value})


@pytest.mark.parametrize("name", ["dropout", "word_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_zero_to_one_is_refused_by_its_name(name, value):
    with pytest.raises(ValueError, match=rf"'{name}' is {value!r}, but a probability lies in 0 to 1"):
        a_size(**{name: value})


@pytest.mark.parametrize(
    ("name", "known"), [("cell", CELLS), ("z_enters", Z_ENTERS), ("initialisation", INITIALISATIONS)]
)
def test_an_unknown_choice_is_refused_with_the_known_ones(name, known):
    with pytest.raises(ValueError, match=f"'{name}' is 'other', but it is one of {', '.join(map(repr, known))}"):
        a_size(**{name: "other"})
    for choice in known:
        a_size(**{name: choice})


def test_a_size_is_a_value():
    assert a_size(latent=5) == dataclasses.replace(a_size(), latent=5)
    assert len({a_size(), a_size()}) == 1
