import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ive
from small import SENTENCES, a_size, roughen
from tiny import some_texts, train_tiny
from torch.distributions import kl_divergence

from pyro_textvae.batch import Batch
from pyro_textvae.cli import commands, main
from pyro_textvae.corpus import BOS, EOS, UNK
from pyro_textvae.distributions import HypersphericalUniform
from pyro_textvae.nvrnn import Label, NVRNNDecoder, NVRNNEncoder
from pyro_textvae.objective import Objective
from pyro_textvae.posteriors import RELEASED_CLIP, LearntVonMisesFisherPosterior
from pyro_textvae.recipes import recipes
from pyro_textvae.terms import BetaELBO, ReleasedEstimator

CODE = 3
LABELS = [0, 1, 1, 0, 1]
SHARES = (0.25, 0.75)
TOLD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "label": {"label": "stars"},
    "bag": {"bag_of_words": True},
    "both": {"label": "stars", "bag_of_words": True},
}
each_told = pytest.mark.parametrize("told", TOLD)


def labelled(sentences: list[list[int]] = SENTENCES, labels: list[int] = LABELS) -> Batch:
    return Batch.collate(sentences, {"stars": labels})


def a_decoder(code: int = CODE, told: str = "both", **changes: Any) -> Any:
    given = dict(TOLD[told])
    label = Label(given.pop("label"), SHARES) if "label" in given else None
    decoder = NVRNNDecoder(a_size(**changes), code, label, **given)
    roughen(decoder)
    return decoder.requires_grad_(False)


def made(name: str, told: str = "nothing", size: dict[str, Any] | None = None, **options: Any) -> Any:
    given = TOLD[told] | ({"label_shares": SHARES} if "label" in TOLD[told] else {})
    recipe = recipes()[name](a_size(**size or {}), **given, **options)
    roughen(recipe.vae)
    return recipe


# The decoder


@pytest.mark.parametrize("code", [0, CODE])
@pytest.mark.parametrize(
    "network", [{}, {"cell": "gru"}, {"layers": 3}, {"z_enters": "steps"}, {"z_enters": "state"}, {"word_dropout": 1.0}]
)
@each_told
def test_a_sentences_log_probability_is_the_sum_over_its_words_given_what_is_told(told, network, code):
    decoder, batch, z = a_decoder(code, told, **network), labelled(), torch.randn(5, code)
    whole, condition = decoder.log_prob(z, batch), decoder.condition(z, batch)
    for i, sentence in enumerate(SENTENCES):
        seen = condition[i : i + 1]
        state, total = decoder.start(seen), torch.zeros(())
        for word, following in itertools.pairwise([BOS, *sentence, EOS]):
            logits, state = decoder.step(torch.tensor([word]), seen, state)
            total = total + logits.log_softmax(-1)[0, following]
        torch.testing.assert_close(whole[i], total, atol=1e-5, rtol=1e-5)


@each_told
def test_neither_padding_nor_company_changes_a_log_probability(told):
    decoder, z = a_decoder(told=told), torch.randn(5, CODE)
    together = decoder.log_prob(z, labelled())
    longer = decoder.log_prob(torch.cat([z[:1], z]), labelled([[5] * 30, *SENTENCES], [1, *LABELS]))
    copies = decoder.log_prob(z.repeat(2, 1), labelled().repeat(2))
    torch.testing.assert_close(longer[1:], together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(copies, together.repeat(2), atol=1e-5, rtol=1e-5)


def test_a_bag_is_the_mean_of_the_embeddings_of_the_words_alone():
    decoder = a_decoder(told="bag")
    batch = Batch.collate([[4, 4, 7], [], [5]])
    table = decoder.embedding.weight
    expected = torch.stack([(2 * table[4] + table[7]) / 3, torch.zeros(8), table[5]])
    torch.testing.assert_close(decoder.mean_embedding(batch), expected)
    reversed_words = decoder.condition(torch.zeros(1, CODE), Batch.collate([[7, 4, 4]]))
    torch.testing.assert_close(decoder.condition(torch.zeros(3, CODE), batch)[:1], reversed_words)


def test_what_is_told_matters_and_only_where_it_is_told():
    z = torch.randn(5, CODE)
    other = labelled(labels=[1 - label for label in LABELS])
    for told in TOLD:
        decoder = a_decoder(told=told)
        same = torch.equal(decoder.log_prob(z, labelled()), decoder.log_prob(z, other))
        assert same == ("label" not in TOLD[told])
        assert decoder.told == {
            "nothing": (),
            "label": ("label 'stars'",),
            "bag": ("bag of words",),
            "both": ("label 'stars'", "bag of words"),
        }[told]  # fmt: skip
    # Neither enters the first state.
    both = a_decoder(told="both")
    seen = both.condition(z, labelled())
    for a, b in zip(both.start(seen), both.start(both.condition(z, other)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_first_state_is_linear_in_z_with_maps_of_its_own_for_h_and_c_of_every_layer(cell):
    decoder, z = a_decoder(told="nothing", cell=cell, layers=3), torch.randn(4, CODE)
    state = decoder.start(z)
    assert len(state) == (2 if cell == "lstm" else 1) and all(each.shape == (3, 4, 8) for each in state)
    weight, bias = decoder.start_state.weight, decoder.start_state.bias
    for part, (s, layer) in enumerate(itertools.product(range(len(state)), range(3))):
        rows = slice(8 * part, 8 * part + 8)
        torch.testing.assert_close(state[s][layer], z @ weight[rows].T + bias[rows])


def test_the_language_model_is_the_same_network_at_z_0():
    full, lm = a_decoder(told="both"), a_decoder(0, told="both")
    state = full.state_dict()
    columns = [i for i in range(state["network.weight_ih_l0"].size(1)) if not 8 <= i < 8 + CODE]
    state["network.weight_ih_l0"] = state["network.weight_ih_l0"][:, columns]
    state["first_state"] = state.pop("start_state.bias")
    del state["start_state.weight"]
    lm.load_state_dict(state)
    torch.testing.assert_close(
        lm.log_prob(torch.empty(5, 0), labelled()), full.log_prob(torch.zeros(5, CODE), labelled())
    )


def test_given_a_label_the_probabilities_of_all_sentences_add_up_to_one():
    decoder = a_decoder(told="label", vocabulary=5).double()
    words = [word for word in range(5) if word != EOS]
    with torch.no_grad():  # </s> is likely, so that hardly any sentence has more than 3 words
        decoder.output.weight[EOS], decoder.output.bias[EOS] = 0, 8.0
    sentences = [list(s) for n in range(4) for s in itertools.product(words, repeat=n)]
    z = torch.randn(1, CODE, dtype=torch.float64).expand(len(sentences), -1)
    for label in (0, 1):
        total = decoder.log_prob(z, labelled(sentences, [label] * len(sentences))).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-6)


# Inputless


@pytest.mark.parametrize("name", ["vae", "nvrnn", "cnn_vae", "skip_vae", "lstm_lm"])
def test_an_inputless_decoder_sees_no_word_in_training_evaluation_or_writing(name):
    decoder = made(name, size={"word_dropout": 1.0, "dropout": 0.0}).vae.decoder
    z, batch = torch.randn(5, decoder.code), labelled()
    training, evaluation = decoder.train().log_prob(z, batch), decoder.eval().log_prob(z, batch)
    assert torch.equal(training, evaluation)
    state = decoder.start(z)
    _, state = decoder.step(torch.full((5,), BOS), z, state)
    one, other = (decoder.step(torch.full((5,), word), z, state)[0] for word in (4, 7))
    assert torch.equal(one, other)
    swapped = decoder.log_prob(z[:2], Batch.collate([[4, 5, 6], [4, 7, 6]]))
    # A word costs what it costs at its place, whatever stood before it.
    plain = [decoder.log_prob(z[:1], Batch.collate([words])) for words in ([4, 5, 6], [7, 5, 6], [4, 5, 9], [7, 5, 9])]
    torch.testing.assert_close(plain[0] - plain[1], plain[2] - plain[3], atol=1e-4, rtol=1e-4)
    assert not torch.equal(swapped[0], swapped[1])


def test_no_dropout_falls_on_what_an_inputless_decoder_reads():
    decoder = a_decoder(told="nothing", word_dropout=1.0, dropout=0.5)
    words = torch.full((2, 6), UNK)
    assert torch.equal(decoder._embed(words), decoder.embedding(words))


def test_at_a_rate_between_words_are_dropped_in_training_and_the_bound_is_of_the_decoder_that_sees_them():
    decoder, whole = a_decoder(told="nothing", word_dropout=0.7), a_decoder(told="nothing")
    whole.load_state_dict(decoder.state_dict())
    z, batch = torch.randn(5, CODE), labelled()
    assert torch.equal(decoder.eval().log_prob(z, batch), whole.eval().log_prob(z, batch))
    assert not torch.equal(decoder.train().log_prob(z, batch), whole.train().log_prob(z, batch))


# The encoder


def test_the_encoder_reads_the_label_and_has_a_depth_of_its_own():
    encoder = NVRNNEncoder(a_size(encoder_layers=3, layers=1, dropout=0.5, bidirectional=True), Label("stars", SHARES))
    assert encoder.forwards.num_layers == 3 == encoder.backwards.num_layers  # pyright: ignore
    assert encoder.forwards.input_size == 8 + 50
    assert not torch.equal(encoder(labelled()), encoder(labelled()))
    encoder.eval()
    assert torch.equal(encoder(labelled()), encoder(labelled()))
    other = encoder(labelled(labels=[0, 0, 0, 0, 0]))
    assert ((other - encoder(labelled())).abs().sum(-1) > 0).tolist() == [label == 1 for label in LABELS]
    vae = made("nvrnn", size={"encoder_layers": 3}).vae
    assert vae.encoder.forwards.num_layers == 3 and vae.decoder.network.num_layers == 1
    vae = made("nvrnn", size={"layers": 3, "encoder_layers": 1}).vae
    assert vae.encoder.forwards.num_layers == 1 and vae.decoder.network.num_layers == 3
    assert made("nvrnn", size={"layers": 2}).vae.encoder.forwards.num_layers == 2


def test_both_are_lstms_unless_a_cell_is_asked_for():
    for name in ("nvrnn", "vmf_nvrnn"):
        vae = made(name, size={"cell": None}).vae
        assert isinstance(vae.encoder.forwards, torch.nn.LSTM) and isinstance(vae.decoder.network, torch.nn.LSTM)
    assert isinstance(made("nvrnn_lm", size={"cell": None}).vae.decoder.network, torch.nn.LSTM)
    assert isinstance(made("nvrnn", size={"cell": "gru"}).vae.decoder.network, torch.nn.GRU)


@each_told
@pytest.mark.parametrize("name", ["nvrnn", "vmf_nvrnn", "nvrnn_lm"])
def test_every_parameter_gets_a_gradient_whatever_is_told(name, told):
    recipe = made(name, told)
    Objective(recipe.vae, recipe.objective)(labelled(), 10**6).backward()
    assert [key for key, p in recipe.vae.named_parameters() if p.grad is None or not p.grad.any()] == []


# Annealing


def test_the_weight_of_the_kl_rises_as_the_paper_says():
    """Twenty epochs of 100 updates: sigmoid(e/2 - 5) and e/20."""
    sigmoid = made("nvrnn", warm_up=2000).objective.terms[1].weight
    linear = made("nvrnn", warm_up=2000, shape="linear", beta=0.5).objective.terms[1].weight
    for epochs in (0, 1, 5, 10, 15, 20, 100):
        assert sigmoid(100 * epochs) == pytest.approx(1 / (1 + np.exp(5 - epochs / 2)), abs=1e-9)
        assert linear(100 * epochs) == pytest.approx(0.5 * min(1, epochs / 20))
    assert made("nvrnn").objective.terms[1].weight == 1
    assert made("nvrnn", beta=0.2).objective.terms[1].weight == 0.2


# Concentrations


def mean_cosine(d: int, k: float) -> float:
    return float(ive(d / 2, k) / ive(d / 2 - 1, k))


def slope_of_mean_cosine(d: int, k: float) -> float:
    a = mean_cosine(d, k)
    return 1 - a * a - (d - 1) * a / k


@pytest.mark.parametrize("gradient", ["exact", "detached"])
@pytest.mark.parametrize("kind", ["softplus", "clipped"])
def test_draws_pass_the_decoders_gradient_to_a_learnt_concentration_only_where_they_may(kind, gradient):
    """E[mu . z] = A(k), so its pathwise gradient is A'(k) dk/da; the KL's is k A'(k) dk/da either way."""
    d, draws = 10, 40_000
    posterior = LearntVonMisesFisherPosterior(4, d, 30.0, kind=kind, gradient=gradient).double()
    features = torch.randn(1, 4, dtype=torch.float64)
    q = posterior.z(features)
    k = q.concentration.item()
    (rate,) = torch.autograd.grad(q.concentration.sum(), posterior.raw_concentration.bias, retain_graph=True)
    (of_kl,) = torch.autograd.grad(
        kl_divergence(q, HypersphericalUniform(d)).sum(), posterior.raw_concentration.bias, retain_graph=True
    )
    slope = slope_of_mean_cosine(d, k) * rate.item()
    assert of_kl.item() == pytest.approx(k * slope, rel=1e-6) and of_kl > 0
    z = q.rsample(torch.Size([draws]))
    cosine = (z * q.loc.detach()).sum(-1).mean()
    assert cosine.item() == pytest.approx(mean_cosine(d, k), abs=0.005)
    (of_draws,) = torch.autograd.grad(cosine, posterior.raw_concentration.bias, allow_unused=True)
    if gradient == "detached":
        assert of_draws is None or of_draws.item() == 0
    else:
        assert of_draws.item() == pytest.approx(slope, rel=0.03)


@pytest.mark.parametrize("kind", ["softplus", "clipped"])
def test_concentrations_begin_where_they_are_told_differ_between_sentences_and_stay_in_range(kind):
    posterior = LearntVonMisesFisherPosterior(4, 10, 30.0, variables=2, kind=kind)
    with torch.no_grad():
        posterior.raw_concentration.bias.zero_()
    torch.testing.assert_close(posterior.concentration_of(torch.zeros(5, 4)), torch.full((2, 5), 30.0))
    spread = posterior.concentration_of(100 * torch.randn(200, 4))
    assert spread.shape == (2, 200) and spread.std() > 1
    least, largest = RELEASED_CLIP if kind == "clipped" else (0, 1e6)
    assert least <= spread.min() and spread.max() <= largest
    assert posterior.z(torch.randn(5, 4)).rsample().shape == (2, 5, 10)


def test_detached_draws_are_draws_of_the_same_distribution_and_survive_expansion():
    features = torch.randn(3, 4)
    exact = LearntVonMisesFisherPosterior(4, 5, 20.0)
    detached = LearntVonMisesFisherPosterior(4, 5, 20.0, gradient="detached")
    detached.load_state_dict(exact.state_dict())
    torch.manual_seed(3)
    one = exact.z(features).rsample()
    torch.manual_seed(3)
    expanded = detached.z(features).expand((3,))
    assert torch.equal(expanded.rsample(), one)
    assert torch.autograd.grad(expanded.rsample().sum(), detached.raw_concentration.bias, allow_unused=True) == (None,)
    torch.testing.assert_close(detached.z(features).log_prob(one), exact.z(features).log_prob(one))


# What was released


def test_of_one_draw_the_released_estimator_is_the_elbo_and_its_report_always_has_the_true_one():
    vae = made("vmf_nvrnn", concentration=5.0).vae
    said = {}
    for name, objective in (("elbo", BetaELBO()), ("one", ReleasedEstimator(draws=1)), ("three", ReleasedEstimator())):
        torch.manual_seed(0)
        said[name] = Objective(vae, objective)(labelled(), 0).item()
        report = {key: value.item() for key, value in objective.report.items()}
        assert report["elbo"] == pytest.approx(-report["reconstruction"] - report["kl_z"], rel=1e-6)
        if name != "elbo":
            assert report["loss"] == pytest.approx(report["reconstruction_at_mean"] + report["kl_z"], rel=1e-6)
    assert said["one"] == pytest.approx(said["elbo"], rel=1e-6) != said["three"]


def test_the_recipes_estimator_is_what_they_are_asked_for():
    for name in ("nvrnn", "vmf_nvrnn"):
        assert isinstance(made(name).objective, BetaELBO)
        assert isinstance(made(name, estimator="xu2018_released").objective, ReleasedEstimator)


# Whole runs

TEXTS = some_texts()
STARS = [["two", "five"][n % 3 == 0] for n in range(len(TEXTS))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "told": ("nvrnn", {"label": "label", "dropout": 0.2}),
        "bag": ("vmf_nvrnn", {"bag_of_words": True, "word_dropout": 1.0}),
        "lm": ("nvrnn_lm", {"label": "label", "bag_of_words": True}),
        "released": ("vmf_nvrnn", {"estimator": "xu2018_released", "concentrations": "softplus"}),
    }
    return {
        key: train_tiny(name, folder / key, (TEXTS, STARS), finish=key != "released", **options)
        for key, (name, options) in wanted.items()
    }


def test_a_told_label_is_counted_chosen_and_drawn(runs):
    run = runs["told"]
    shares = run.recipe["options"]["label_shares"]
    assert sum(shares) == pytest.approx(1, abs=1e-5) and len(shares) == 2
    names = run.corpus.label_names["label"]
    assert shares[names.index("two")] == pytest.approx(2 / 3, abs=0.08)
    counts = np.bincount(run.corpus.splits["train"].labels["label"])
    assert shares == pytest.approx(counts / counts.sum(), abs=1e-5)
    assert len(run.sample(4)) == 4 == len(run.sample(4, label="two"))
    assert run.sample(6, label="two", decoding="greedy") != run.sample(6, label="five", decoding="greedy")
    torch.manual_seed(0)
    vectors = run.vae.decoder.label.draw(4000)
    drawn = (vectors == run.vae.decoder.label.vectors.weight[names.index("two")]).all(-1).double().mean().item()
    assert drawn == pytest.approx(shares[names.index("two")], abs=0.03)


def test_the_command_line_takes_a_label(runs, tmp_path):
    where, some = runs["told"].directory, tuple(TEXTS[:2])
    assert commands.sample(where, count=3, label="two").data == runs["told"].sample(3, label="two")
    assert commands.reconstruct(where, some, label="two").data[0]["text"] == TEXTS[0]
    expected = runs["told"].encode(some, labels=["two"] * 2)
    assert np.allclose(commands.encode(where, some, label="two").data, expected)


def test_texts_come_with_the_label_that_a_model_is_told(runs):
    run, some, labels = runs["told"], TEXTS[:5], STARS[:5]
    assert run.encode(some, labels=labels).shape == (5, 4)
    assert not np.allclose(run.encode(some, labels=["two"] * 5), run.encode(some, labels=["five"] * 5))
    assert len(run.reconstruct(some, labels=labels)) == 5
    assert len(run.interpolate(some[0], some[1], 3, label="two")) == 3
    metrics = run.evaluate(data=some, labels=labels, samples=3)
    assert metrics["nll_importance_weighted_nats_per_sentence"] > 0
    for call in (lambda: run.encode(some), lambda: run.reconstruct(some), lambda: run.evaluate(data=some)):
        with pytest.raises(ValueError, match="these sentences came without the label 'label', which this model's"):
            call()
    with pytest.raises(ValueError, match=r"'tow' is no class of 'label' \(did you mean 'two'\?\): it has "):
        run.encode(some, labels=["tow"] * 5)
    with pytest.raises(ValueError, match="came for 5 texts: give a list, one label for each text"):
        run.encode(some, labels=["two"])
    with pytest.raises(ValueError, match="labels came without data"):
        run.evaluate("valid", labels=labels)
    with pytest.raises(ValueError, match="the encoder of this 'nvrnn' is told the label 'label', so to predict it"):
        run.classify()
    with pytest.raises(ValueError, match="is told the label 'label', which your texts come without"):
        run.classify(some, labels)
    assert run.order_sensitivity(some, labels=labels, probabilities=(0.0,)).cosines == (1.0,)
    with pytest.raises(ValueError, match="labels came without texts"):
        run.order_sensitivity(labels=labels)


def test_who_is_asked_for_a_label_is_told_how_to_give_it(runs, capsys):
    run, where = runs["told"], str(runs["told"].directory)
    with pytest.raises(ValueError, match=r"give that of both with label=\.\.\.; it has 'five', 'two'$"):
        run.interpolate(*TEXTS[:2])
    with pytest.raises(ValueError, match=r"give the label of each with labels=\[\.\.\.\]; it has 'five', 'two'$"):
        run.order_sensitivity(TEXTS[:2])
    for words in (["encode", where, TEXTS[0]], ["reconstruct", where, TEXTS[0]], ["interpolate", where, *TEXTS[:2]]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "with --label; it has 'five', 'two'" in said and "label=" not in said and "labels=" not in said
        assert main([*words, "--label", "two"]) == 0
    assert commands.interpolate(run.directory, *TEXTS[:2], label="two").data == run.interpolate(*TEXTS[:2], label="two")


def test_a_file_brings_the_label_that_a_model_is_told(runs, tmp_path):
    run, some = runs["told"], list(zip(STARS[:9], TEXTS[:9], strict=True))
    expected = run.evaluate(data=TEXTS[:9], labels=STARS[:9])
    (tmp_path / "own.tsv").write_text("".join(f"{label}\t{text}\n" for label, text in some))
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for label, t in some))
    assert run.evaluate(data=(TEXTS[:9], STARS[:9])) == expected
    for name in ("own.tsv", "own.jsonl"):
        assert run.evaluate(data=tmp_path / name) == expected
        assert commands.evaluate(run.directory, data=str(tmp_path / name)).data == expected
    assert run.evaluate(data=tmp_path / "own.tsv", labels=["two"] * 9) != expected
    (tmp_path / "own.txt").write_text(TEXTS[0])
    with pytest.raises(ValueError, match=r"own\.txt has a sentence without the label 'label', which encoder and"):
        run.evaluate(data=tmp_path / "own.txt")
    with pytest.raises(ValueError, match=r"which standard input does not say: give a \.tsv or \.jsonl"):
        commands.evaluate(run.directory, data="-")
    (tmp_path / "own.tsv").write_text(f"tow\t{TEXTS[0]}\n")
    with pytest.raises(ValueError, match=r"'tow' is no class of 'label' \(did you mean 'two'\?\)"):
        run.evaluate(data=tmp_path / "own.tsv")


def test_the_released_estimator_is_not_of_a_model_without_a_code(runs):
    with pytest.raises(ValueError, match="released_draws=3 came, but this model has no density of a code to draw"):
        runs["lm"].evaluate("test", released_draws=3)


def test_evaluation_keeps_to_what_is_told(runs):
    for key in ("told", "bag"):
        run = runs[key]
        metrics = run.evaluate("test", samples=5, swaps=[1])
        assert metrics["nll_importance_weighted_nats_per_sentence"] < metrics["nll_elbo_nats_per_sentence"] + 1
        assert np.isfinite(metrics["reconstruction_after_1_swaps_nats_per_sentence"])
        assert "## Reconstructions" in (run.directory / "report.md").read_text()
    generated = runs["told"].evaluate_generation(measures=["word_kl"], sentences=40)
    assert np.isfinite(generated.metrics["word_kl_generated_to_train_nats"])


def test_bleu_of_reconstructions_is_of_those_that_are_told_what_the_sentence_says(runs):
    pytest.importorskip("sacrebleu")
    for key in ("told", "bag"):
        assert runs[key].evaluate("test", bleu="greedy")["reconstruction_bleu_greedy_from_mean"] >= 0


def test_a_model_told_a_bag_of_words_reconstructs_and_cannot_write_from_nothing(runs):
    run = runs["bag"]
    assert len(run.reconstruct(TEXTS[:3])) == 3
    message = r"this model writes a sentence given its bag of words, p\(x\|z, bag of x\), so without a sentence"
    for call in (
        lambda: run.sample(2),
        lambda: run.interpolate(TEXTS[0], TEXTS[1], 3),
        lambda: runs["lm"].sample(2),
        lambda: run.evaluate_generation(measures=["word_kl"], sentences=40),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    report = (run.directory / "report.md").read_text()
    assert "None: it writes only what it is told the bag of words of." in report


def test_a_language_model_that_is_told_something_does_not_measure_text(runs):
    message = "is told label 'label' and bag of words of each sentence, so it has no probability for text alone"
    with pytest.raises(ValueError, match=message):
        runs["told"].evaluate_generation(measures=["forward_perplexity"], sentences=40, language_model=runs["lm"])


def test_labels_are_refused_where_none_is_told(runs):
    run = runs["released"]
    with pytest.raises(ValueError, match="labels came, but this 'vmf_nvrnn' is told none: leave them out"):
        run.encode(TEXTS[:2], labels=["two", "two"])
    with pytest.raises(ValueError, match="labels came, but this 'vmf_nvrnn' is told none"):
        run.sample(2, label="two")
    with pytest.raises(ValueError, match="label=1 was asked for, but this decoder is told no label"):
        run.vae.decoder.condition_freely(torch.zeros(2, 4), 1)
    with pytest.raises(ValueError, match="label=2, but the classes of 'label' are 0 to 1"):
        runs["told"].vae.decoder.condition_freely(torch.zeros(2, 4), 2)


def test_a_run_trained_with_the_released_estimator_reports_bounds_and_that_number_under_its_own_name(runs):
    run = runs["released"]
    valid = run.evaluate("valid", samples=20)
    plain = run.evaluate("valid", samples=20, released_draws=0)
    released = {name for name in valid if "released" in name}
    same = {"nll_elbo_same_draws_nats_per_sentence", "perplexity_elbo_same_draws"}
    assert valid.keys() - plain.keys() == released | same and valid["xu2018_released_draws"] == 3
    assert plain["nll_elbo_nats_per_sentence"] == pytest.approx(
        plain["reconstruction_nats_per_sentence"] + plain["kl_nats_per_sentence"]
    )
    for row in run.history:
        assert row["valid_nll_elbo_nats_per_sentence"] != row["valid_loss"]  # the loss is the released number
        assert row["train_elbo"] == pytest.approx(-row["train_reconstruction"] - row["train_kl_z"], rel=1e-5)
        assert row["train_loss"] == pytest.approx(row["train_reconstruction_at_mean"] + row["train_kl_z"], rel=1e-5)
    assert not {name for row in run.history for name in row if "bound" in name}


def test_the_spread_of_concentrations_is_in_the_history_and_in_evaluation(runs):
    row, valid = runs["released"].history[-1], runs["released"].evaluate("valid")
    for where, prefix in ((row, "valid_"), (valid, "")):
        least, mean, most = (where[f"{prefix}concentration_{name}"] for name in ("min", "mean", "max"))
        assert 0 < least < mean < most
    fixed = runs["bag"].metrics["valid"]
    assert fixed["concentration_min"] == fixed["concentration_max"] == 80
    assert "concentration_mean" not in runs["told"].metrics["valid"]


# What is refused before anything is trained


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("vmf_nvrnn", {"concentration": 0.0}, "'concentration' is 0.0, but a posterior's must be positive"),
        ("vmf_nvrnn", {"concentration": -3.0}, "'concentration' is -3.0, but a posterior's must be positive"),
        ("vmf_nvrnn", {"concentration": float("inf")}, "'concentration' is inf"),
        ("vmf_nvrnn", {"concentration": -3.0, "concentrations": "softplus"}, "'concentration' is -3.0"),
        ("vmf_nvrnn", {"concentration": 5.0, "concentrations": "clipped"}, "a clipped one begins between 10 and 150"),
        ("vmf_nvrnn", {"latent": 1}, "'latent' is 1, but a von Mises-Fisher code lives on a sphere: at least 2"),
        ("vmf_nvrnn", {"latent": 1, "concentrations": "softplus"}, "'latent' is 1, but a von Mises-Fisher code lives"),
        (
            "vmf_nvrnn",
            {"concentrations": "softpuls"},
            r"'concentrations' is 'softpuls' \(did you mean 'softplus'\?\); it is one of fixed, softplus, clipped",
        ),
        ("vmf_nvrnn", {"concentrations": "softplus", "gradient": "none"}, "'gradient' is 'none'; it is one of exact"),
        ("vmf_nvrnn", {"gradient": "detached"}, "'gradient' is 'detached', but a fixed concentration has none"),
        (
            "vmf_nvrnn",
            {"estimator": "xu2018_release"},
            r"'estimator' is 'xu2018_release' \(did you mean 'xu2018_released'\?\), but it is 'elbo', a bound",
        ),
        ("nvrnn", {"shape": "cosine"}, "'shape' is 'cosine', but a warm-up is 'sigmoid' or 'linear'"),
        ("nvrnn", {"warm_up": -1}, "'warm_up' is -1"),
        ("nvrnn", {"beta": -1.0}, "the weight of the KL is -1.0"),
        ("nvrnn", {"encoder_layers": 0}, "'encoder_layers' is 0, but it is a whole number of at least 1, or None"),
        ("nvrnn", {"label": "stars"}, "label='stars' is no label column of this corpus: it has 'label'"),
        ("nvrnn", {"label": "labl"}, r"label='labl' is no label column of this corpus \(did you mean 'label'\?\)"),
        ("nvrnn", {"label": "label", "label_shares": [0.5, 0.5]}, "'label_shares' is .*leave 'label_shares' out"),
        ("nvrnn_lm", {"label": "stars"}, "label='stars' is no label column"),
        ("nvrnn", {"label_shares": [0.5, 0.5]}, "'label_shares' is .*, but no label is told: leave it out, or name"),
        (
            "nvrnn",
            {"label": "label", "init_from": "ae"},
            "init_from='ae' was given, but an autoencoder's encoder is told",
        ),
    ],
)
def test_an_option_out_of_range_is_refused_before_training(tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        train_tiny(model, tmp_path / "run", (TEXTS, STARS), **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "label='label' is no label column of this corpus: it has none"),
        (["two"] * len(TEXTS), "label='label' has one class alone, which tells nothing"),
        (
            [None, *STARS[1:]],
            "label='label' has no label for 1 of .* sentences of '(train|valid|test)', but encoder and",
        ),
    ],
)
def test_a_corpus_without_the_label_is_refused_before_training(tmp_path, labels, message):
    data = TEXTS if labels is None else (TEXTS, labels)
    with pytest.raises(ValueError, match=message):
        train_tiny("nvrnn", tmp_path / "run", data, label="label")
    assert not (tmp_path / "run").exists()


def test_a_label_without_its_shares_is_refused():
    with pytest.raises(ValueError, match=r"'label_shares' is \[\], but label='stars' needs the share of each"):
        recipes()["nvrnn"](a_size(), label="stars")


def test_a_run_told_a_label_goes_on_where_it_stopped(tmp_path):
    train_tiny("nvrnn", tmp_path, (TEXTS, STARS), label="label", epochs=1)
    run = train_tiny("nvrnn", tmp_path, (TEXTS, STARS), label="label", epochs=2, resume=True)
    assert len(run.history) == 2
