import pytest

from pyro_textvae.corpus import Corpus


@pytest.fixture(scope="session")
def toy() -> Corpus:
    return Corpus.open("toy")
