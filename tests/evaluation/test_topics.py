import itertools
import json
import math

import numpy as np
import pytest
import torch
from tiny import some_texts, train_tiny

from pyro_textvae.cli import main
from pyro_textvae.corpus import UNK, Split, Vocabulary
from pyro_textvae.evaluation.topics import CHANCE_SETS, describe_topics, loadings, npmi
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import TextVAE

V = 10
DOCUMENTS = [[4, 5, 4], [4, 5, 6], [6, 7], [7, 7, 8], [4, UNK, 8], [9, 4], [9], [9, 6]]


def npmi_by_hand(words: list[int]) -> float:
    sets = [set(each) for each in DOCUMENTS]
    scores = []
    for a, b in itertools.combinations([word + 4 for word in words], 2):
        pa, pb, pab = (sum(need <= each for each in sets) / len(sets) for need in ({a}, {b}, {a, b}))
        scores.append(math.log(pab / (pa * pb)) / -math.log(pab) if pab else -1.0)
    return sum(scores) / len(scores)


def test_npmi_is_the_mean_over_pairs_of_how_surely_they_share_a_document():
    topics = [[0, 1, 2], [0, 1, 3], [4, 3, 5], [5, 2, 0]]
    found = npmi(topics, Split.of(DOCUMENTS), V)
    assert found == pytest.approx([npmi_by_hand(each) for each in topics])
    assert len(set(found.round(6))) == 4


def test_words_that_are_never_apart_have_an_npmi_of_one_never_together_of_minus_one_and_independent_of_zero():
    documents = Split.of([[4, 5], [4, 5], [6], [7]])
    assert npmi([[0, 1]], documents, V) == pytest.approx([1])
    assert npmi([[0, 2]], documents, V) == pytest.approx([-1])
    assert npmi([[0, 5]], documents, V) == pytest.approx([-1])  # one that never comes
    assert npmi([[0, 1]], Split.of([[4, 5]] * 3), V) == pytest.approx([0])  # in every document: nothing to tell
    assert npmi([[0, 1]], Split.of([[4, 5], [4, 6], [5, 7], [8]]), V) == pytest.approx([0], abs=1e-12)


def test_the_loadings_of_a_linear_decoder_are_its_weights_whatever_its_bias():
    vae = recipes()["g_nvdm"](Size(V, hidden=4, latent=3)).vae
    weight = vae.decoder.output.weight.detach().numpy()  # pyright: ignore[reportOptionalMemberAccess]
    assert loadings(vae) == pytest.approx((weight - weight.mean(0)).T, abs=1e-6)


def a_model(name: str) -> TextVAE:
    torch.manual_seed(1)
    return recipes()[name](Size(V, hidden=4, latent=3)).vae


VOCABULARY = Vocabulary(["<pad>", "<s>", "</s>", "<unk>", "rose", "red", "is", "thorn", "sharp", "bee"])


@pytest.mark.parametrize("name", ["g_nvdm", "v_nvdm", "fdarn"])
def test_the_topics_of_a_model_list_the_words_that_rise_and_those_that_fall(name):
    vae = a_model(name)
    found = describe_topics(vae, VOCABULARY, Split.of(DOCUMENTS), words=3)
    weights = loadings(vae)
    assert [topic.number for topic in found] == [0, 1, 2]
    for topic, row in zip(found, weights, strict=True):
        order = np.argsort(-row)
        assert [word for word, _ in topic.words] == [VOCABULARY.words[i + 4] for i in order[:3]]
        assert [word for word, _ in topic.opposite] == [VOCABULARY.words[i + 4] for i in order[::-1][:3]]
        assert topic.words[0][1] == pytest.approx(row.max())
        assert topic.npmi == pytest.approx(npmi_by_hand(order[:3].tolist()))
    assert found.npmi == pytest.approx(np.mean([topic.npmi for topic in found]))
    assert f"mean NPMI: {found.npmi:.3f} ({found.npmi_chance:.3f} by chance)" in str(found)


def test_by_chance_words_cohere_as_those_of_all_topics_do_together():
    vae = a_model("g_nvdm")
    found = describe_topics(vae, VOCABULARY, Split.of(DOCUMENTS), words=3)
    picked = sorted({VOCABULARY.words.index(word) - 4 for topic in found for word, _ in topic.words})
    every = [npmi_by_hand(list(each)) for each in itertools.combinations(picked, 3)]
    assert found.npmi_chance == pytest.approx(np.mean(every), abs=4 * np.std(every) / CHANCE_SETS**0.5)
    assert len(every) > 1 and found.data()["npmi_chance"] == found.npmi_chance
    # Of one topic's words alone there is no other choice.
    one = describe_topics(vae, VOCABULARY, Split.of(DOCUMENTS), words=6)
    assert one.npmi_chance == pytest.approx(one.npmi)


def test_what_has_no_topics_and_too_few_words_are_refused():
    with pytest.raises(ValueError, match="topics are those of a model of bags of words, such as 'g_nvdm'"):
        describe_topics(a_model("vae"), VOCABULARY, Split.of(DOCUMENTS))
    with pytest.raises(ValueError, match="words=1 came, of 6 that are known, but a topic has at least 2"):
        describe_topics(a_model("g_nvdm"), VOCABULARY, Split.of(DOCUMENTS), words=1)


def test_of_fewer_known_words_than_are_asked_for_a_topic_lists_all():
    vae = a_model("g_nvdm")
    assert describe_topics(vae, VOCABULARY, Split.of(DOCUMENTS)) == describe_topics(
        vae, VOCABULARY, Split.of(DOCUMENTS), words=6
    )


def test_the_command_line_lists_topics(tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("\n".join(some_texts()))
    run = train_tiny("g_nvdm", tmp_path / "run", tmp_path / "texts.txt", epochs=1)
    assert main(["topics", str(run.directory), "--words", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = run.describe_topics(words=4)
    assert said["npmi"] == pytest.approx(found.npmi)
    assert [topic["words"] for topic in said["topics"]] == [[list(word) for word in topic.words] for topic in found]
    assert main(["topics", str(run.directory)]) == 0
    assert "topic 0: NPMI" in capsys.readouterr().out
