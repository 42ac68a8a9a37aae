import pytest
from tiny import TINY, some_texts, train_tiny

from pyro_textvae import protocols
from pyro_textvae.corpus import Corpus
from pyro_textvae.protocols import PROTOCOLS
from pyro_textvae.recipes import recipes


@pytest.mark.parametrize("name", recipes())
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_gives_options_that_every_recipe_takes(tmp_path, protocol, name):
    options = protocols.protocol(protocol)(name, Corpus.open(some_texts()))
    run = train_tiny(name, tmp_path, some_texts(40), protocol=protocol, epochs=1, **fast(name))
    for group in ("options", "size", "training"):
        for option, value in run.recipe[group].items():
            if option in options and option not in (*TINY, "epochs", "warm_up", *fast(name)):
                assert value == options[option], option


def fast(name: str) -> dict[str, int]:
    """Fewer inner steps, where a recipe has some."""
    return {option: 1 for option in ("steps", "most") if option in recipes().options(name)}


def test_zhu2020_anneals_over_ten_epochs_of_full_batches():
    corpus = Corpus.open(some_texts(200))
    options = PROTOCOLS["zhu2020"]("annealed_vae", corpus)
    assert options["warm_up"] == 10 * 160 / 32
    assert options["batching"] == "exact" and options["optimizer"] == "sgd" and options["clip"] == 5
    assert options["decay"] == "zhu2020" and options["initialisation"] == "he2019"


def test_shi2020_warms_up_in_5000_updates_what_has_a_warm_up():
    corpus = Corpus.open(some_texts(200))
    options = PROTOCOLS["shi2020"]("dgm_vae", corpus)
    assert options["warm_up"] == 5000 and options["clip"] == 0.5 and options["batch_size"] == 30
    assert options["bidirectional"] and options["decay"] == "shi2020" and options["batching"] == "random"
    assert "warm_up" not in PROTOCOLS["shi2020"]("vae", corpus)


def test_xu2018_is_the_papers_and_anneals_over_twenty_epochs_what_can_be_annealed():
    corpus = Corpus.open(some_texts(200))
    options = PROTOCOLS["xu2018"]("nvrnn", corpus)
    assert options["warm_up"] == 20 * 160 / 20
    assert (options["optimizer"], options["learning_rate"], options["clip"]) == ("sgd", 10, 0.25)
    assert (options["batch_size"], options["dropout"], options["decay"]) == (20, 0.5, "xu2018")
    assert (options["embedding"], options["hidden"], options["cell"]) == (100, 400, "lstm")
    assert not {"warm_up", "label"} & PROTOCOLS["xu2018"]("vmf_nvrnn", corpus).keys()


def test_xu2018_tells_the_label_of_a_corpus_that_has_one_unless_it_is_left_out(tmp_path):
    texts = some_texts(40)
    data = texts, [["one", "five"][n % 2] for n in range(40)]
    assert PROTOCOLS["xu2018"]("nvrnn_lm", Corpus.open(data))["label"] == "label"
    assert "label" not in PROTOCOLS["xu2018"]("vae", Corpus.open(data))
    told = train_tiny("vmf_nvrnn", tmp_path / "told", data, protocol="xu2018", epochs=1)
    assert told.recipe["options"]["label"] == "label" and len(told.recipe["options"]["label_shares"]) == 2
    not_told = train_tiny("vmf_nvrnn", tmp_path / "not", data, protocol="xu2018", epochs=1, label=None)
    assert not_told.vae.decoder.told == ()


def test_what_is_given_wins_over_the_protocol(tmp_path):
    run = train_tiny("vae", tmp_path, protocol="zhu2020", epochs=1, learning_rate=0.25, dropout=0.0)
    assert run.recipe["training"]["learning_rate"] == 0.25 and run.recipe["size"]["dropout"] == 0
    assert run.recipe["training"]["optimizer"] == "sgd" and run.recipe["size"]["cell"] == "lstm"
    assert run.recipe["training"]["epochs"] == 1


def test_an_unknown_protocol_says_which_may_be_meant(tmp_path):
    with pytest.raises(ValueError, match=r"unknown protocol 'zhu2002' \(did you mean 'zhu2020'\?\)"):
        train_tiny("vae", tmp_path / "run", protocol="zhu2002")
    assert not (tmp_path / "run").exists()


def test_the_protocols_of_documents_take_turns_and_draw_as_often_as_their_papers_where_a_recipe_can():
    corpus = Corpus.open(some_texts(40))
    assert PROTOCOLS["miao2016"]("g_nvdm", corpus)["alternate"] == 10
    assert "alternate" not in PROTOCOLS["miao2016"]("v_nvdm", corpus)
    options = PROTOCOLS["xu2018_nvdm"]("v_nvdm", corpus)
    assert (options["samples"], options["hidden"], options["latent"], options["dropout"]) == (3, 400, 25, 0.1)
    assert (options["optimizer"], options["learning_rate"], options["clip"]) == ("sgd", 1.0, 1.0)
    assert "samples" not in PROTOCOLS["xu2018_nvdm"]("vae", corpus)
