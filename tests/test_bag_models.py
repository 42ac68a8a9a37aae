"""Models of bags of words: what they read, what they score, and how discrete codes get their gradients."""

import itertools
import math
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from small import VOCABULARY, a_batch, a_size, gradients_of, roughen
from tiny import some_texts, train_tiny
from torch import Tensor

from pyro_textvae import loop
from pyro_textvae.batch import Batch, Batches
from pyro_textvae.cli import main
from pyro_textvae.corpus import EOS, UNK, Bags
from pyro_textvae.decoders import BagOfWordsDecoder, HiddenBagOfWordsDecoder
from pyro_textvae.encoders import BagOfWordsEncoder
from pyro_textvae.evaluation.generation import beam, greedy, sample, write
from pyro_textvae.objective import LeaveOneOutELBO, Objective, TextELBO, leave_one_out
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.run import Run
from pyro_textvae.terms import KL, FreeBits, Reconstruction
from pyro_textvae.updates import Alternating
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE

BAGS = sorted(recipes().of_bags)
EVERY_BAG = pytest.mark.parametrize("name", BAGS)
DOCUMENTS = [[4, 5, 4, 4], [6, UNK, 7, 5], [8], [9, 9, 4, 11, 10, 5, 6]]


def rough(name: str, seed: int = 0, **options: Any) -> TextVAE:
    made = recipes()[name](a_size(), **options)
    roughen(made.vae, 0.8, seed)
    return made.vae.double().eval()


def test_the_three_document_models_are_of_bags_and_no_other_is():
    assert BAGS == ["fdarn", "g_nvdm", "v_nvdm"]
    assert [name for name in recipes() if not recipes()[name](a_size()).vae.decoder.ordered] == [
        "g_nvdm", "v_nvdm", "fdarn",
    ]  # fmt: skip


# What is counted


def test_the_counts_of_a_batch_are_those_of_its_words_alone():
    batch = a_batch(DOCUMENTS)
    by_hand = np.zeros((4, VOCABULARY))
    for row, document in enumerate(DOCUMENTS):
        for word in document:
            by_hand[row, word] += word > UNK
    assert np.array_equal(batch.counts(VOCABULARY).numpy(), by_hand[:, 4:])
    assert batch.known_words().tolist() == [4, 3, 1, 7]
    twice = batch.repeat(2)
    assert torch.equal(twice.counts(VOCABULARY), batch.counts(VOCABULARY).repeat(2, 1))


@EVERY_BAG
def test_neither_features_nor_likelihood_know_the_order_of_words_the_batch_or_the_padding(name):
    vae = rough(name)
    code = vae.prior.sample(4).double()
    here = a_batch(DOCUMENTS)
    backwards = a_batch([document[::-1] for document in DOCUMENTS])
    torch.testing.assert_close(vae.encoder(backwards), vae.encoder(here))
    torch.testing.assert_close(vae.decoder.log_prob(code, backwards), vae.decoder.log_prob(code, here))
    alone = torch.cat([vae.decoder.log_prob(code[i : i + 1], a_batch([each])) for i, each in enumerate(DOCUMENTS)])
    torch.testing.assert_close(alone, vae.decoder.log_prob(code, here))


@pytest.mark.parametrize("decoder", [BagOfWordsDecoder, HiddenBagOfWordsDecoder])
def test_the_likelihood_is_the_sum_over_known_words_of_a_softmax_over_them(decoder):
    made = decoder(a_size(), 3)
    roughen(made)
    code, batch = torch.randn(4, 3), a_batch(DOCUMENTS)
    weights = {key: value.detach().double().numpy() for key, value in made.named_parameters()}
    inner = code.double().numpy()
    if decoder is HiddenBagOfWordsDecoder:
        inner = np.tanh(inner @ weights["inner.weight"].T + weights["inner.bias"])
    logits = inner @ weights["output.weight"].T + weights["output.bias"]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    by_hand = [sum(log_p[i, word - 4] for word in each if word > UNK) for i, each in enumerate(DOCUMENTS)]
    torch.testing.assert_close(made.log_prob(code, batch), torch.tensor(by_hand).float())


def test_a_hidden_decoders_output_has_dropout_in_training_alone():
    decoder = HiddenBagOfWordsDecoder(a_size(dropout=0.5), 3)
    roughen(decoder, 2.0)
    code = torch.randn(1, 3)
    plain = decoder.eval().word_logits(decoder.hidden(code))
    assert torch.equal(plain, decoder.word_logits(decoder.hidden(code)))
    dropped = decoder.train().word_logits(decoder.hidden(code.expand(400, -1)))
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    torch.testing.assert_close(dropped[dropped != 0], (2 * plain).expand(400, -1)[dropped != 0])


def test_an_encoder_has_as_many_hidden_layers_as_asked():
    for layers in (1, 2, 3):
        encoder = BagOfWordsEncoder(a_size(layers=layers, hidden=5))
        assert encoder(a_batch()).shape == (5, 5)
        assert sum(parameter.dim() == 2 for parameter in encoder.parameters()) == layers


# What is drawn


@EVERY_BAG
def test_a_bag_is_drawn_word_by_word_and_its_likeliest_words_come_once_each(name):
    vae = rough(name)
    code = vae.prior.sample(2).double()
    log_p = vae.decoder.step(torch.tensor([1, 1]), code, vae.decoder.start(code))[0].detach().log_softmax(-1)
    assert (log_p[:, :4] == -math.inf).all() and log_p[:, 4:].isfinite().all()
    for decoding in ("greedy", "beam"):
        words = write(vae.decoder, code, decoding, 3)
        assert words == log_p.topk(3).indices.tolist()
        assert [len(each) for each in write(vae.decoder, code, decoding, 99)] == [VOCABULARY - 4] * 2
    drawn = np.array(sample(vae.decoder, code[:1].expand(500, -1), max_length=20)).flatten()
    share = np.bincount(drawn, minlength=VOCABULARY) / len(drawn)
    p = log_p[0].exp().numpy()
    assert (np.abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / len(drawn)) + 1e-9).all()
    assert greedy(vae.decoder, code, 3) and beam(vae.decoder, code, 2, 3)  # their loops know it too
    assert EOS not in drawn


# A discrete code's gradient


def every_code(latent: int = 3) -> Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=latent)), dtype=torch.float64)


def exact(vae: TextVAE, batch: Batch) -> tuple[Tensor, Tensor]:
    """-ELBO and -log p(x) of each document, summed over every code: (B,) each."""
    codes = every_code()
    q = vae.q_z(batch)
    log_q = torch.stack([q.log_prob(code) for code in codes])  # (8, B)
    rows = [code.expand(len(batch), -1) for code in codes]
    log_p = torch.stack([vae.prior.log_prob(row) + vae.decoder.log_prob(row, batch) for row in rows])
    return (log_q.exp() * (log_q - log_p)).sum(0), -log_p.logsumexp(0)


@pytest.mark.parametrize("samples", [2, 3])
def test_leaving_one_out_has_the_exact_gradient_in_expectation_over_all_draws(samples):
    """Every S-tuple of the 4 values of two binary variables, weighed by its probability."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    log_q = logits.log_softmax(0)
    cost = (scale**2 + log_q).exp()  # any cost, which depends on the parameters as well
    (log_q.exp() * cost).sum().backward()
    wanted = logits.grad, scale.grad
    found = [torch.zeros(4, dtype=torch.float64) for _ in wanted]
    value = 0.0
    for drawn in itertools.product(range(4), repeat=samples):
        chosen = list(drawn)
        log_q = logits.log_softmax(0)
        cost = (scale**2 + log_q).exp()
        loss = leave_one_out(cost[chosen][:, None], log_q[chosen][:, None]).mean()
        p = log_q[chosen].sum().exp().item()
        value += p * loss.item()
        for total, gradient in zip(found, torch.autograd.grad(loss, (logits, scale)), strict=True):
            total += p * gradient
    assert value == pytest.approx((logits.softmax(0) * (scale**2 + logits.log_softmax(0)).exp()).sum().item())
    for total, gradient in zip(found, wanted, strict=True):
        torch.testing.assert_close(total, gradient)


@pytest.mark.parametrize("autoregressive", [True, False])
def test_the_gradient_of_fdarn_is_that_of_the_bound_summed_over_every_code(autoregressive):
    vae, batch = rough("fdarn", autoregressive=autoregressive), a_batch(DOCUMENTS)
    cost, _ = exact(vae, batch)
    wanted = gradients_of(vae, cost.sum())
    elbo = LeaveOneOutELBO(Reconstruction(), KL(), num_particles=3)
    runs: dict[str, list[Tensor]] = {name: [] for name in wanted}
    losses = []
    for _ in range(600):
        loss = elbo.differentiable_loss(vae.generative, vae.inference, batch)
        losses.append(loss.item())
        for name, gradient in gradients_of(vae, loss).items():
            runs[name].append(gradient)
    assert np.mean(losses) == pytest.approx(cost.sum().item(), abs=float(4.5 * np.std(losses) / math.sqrt(600)))
    compared = 0
    for name, gradients in runs.items():
        found = torch.stack(gradients)
        error = found.std(0) / math.sqrt(len(found))
        away = (found.mean(0) - wanted[name]).abs()
        assert (away <= 5 * error + 1e-9).all(), name
        compared += int((error > 0).sum())
        if wanted[name].abs().max() > 1:  # not merely within its noise: the noise is small beside it
            assert error.mean() < 0.2 * wanted[name].abs().max(), name
    assert compared > 130


def test_without_a_baseline_the_gradient_varies_more():
    vae, batch = rough("fdarn"), a_batch(DOCUMENTS)

    def variance(elbo: LeaveOneOutELBO, baseline: bool) -> float:
        gradients = []
        for _ in range(200):
            draws = list(elbo.draws(vae.generative, vae.inference, batch))
            costs = torch.stack([elbo.weigh(draw) for draw in draws])
            log_q = torch.stack([draw.q("z").log_prob(draw.value("z")) for draw in draws])
            surrogate = leave_one_out(costs, log_q) if baseline else costs + costs.detach() * log_q
            gradients.append(gradients_of(vae.posterior, surrogate.mean(0).sum())["mean.bias"])
        return torch.stack(gradients).var(0).sum().item()

    elbo = LeaveOneOutELBO(Reconstruction(), KL())
    assert variance(elbo, True) < 0.3 * variance(elbo, False)


def test_the_guide_runs_once_for_all_draws_and_these_differ():
    vae, batch = rough("fdarn"), a_batch(DOCUMENTS * 4)
    calls = []
    vae.encoder.register_forward_hook(lambda *_: calls.append(1))
    draws = list(LeaveOneOutELBO(Reconstruction(), KL(), num_particles=5).draws(vae.generative, vae.inference, batch))
    assert len(calls) == 1 and len(draws) == 5
    values = [draw.value("z") for draw in draws]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(values, 2))
    for draw in draws:
        nodes: Any = draw.model_trace.nodes
        assert torch.equal(nodes["z"]["value"], draw.value("z"))
        torch.testing.assert_close(
            draw.kl("z"), vae.q_z(batch).log_prob(draw.value("z")) - vae.prior.log_prob(draw.value("z"))
        )


def test_an_objective_that_would_train_a_discrete_guide_wrongly_refuses_to_and_may_measure():
    vae, batch = rough("fdarn"), a_batch(DOCUMENTS)
    plain = TextELBO(Reconstruction(), KL())
    with pytest.raises(ValueError, match=r"draws at \['z'\] carry no gradient, and TextELBO would train their guide"):
        plain.differentiable_loss(vae.generative, vae.inference, batch)
    assert math.isfinite(plain.loss(vae.generative, vae.inference, batch))
    gaussian = rough("g_nvdm")
    with pytest.raises(ValueError, match=r"the guide's latent sites are \['z'\], and \[\] of them by score function"):
        LeaveOneOutELBO(Reconstruction(), KL()).differentiable_loss(gaussian.generative, gaussian.inference, batch)
    with pytest.raises(ValueError, match="1 draws came, but leaving one out needs at least 2"):
        recipes()["fdarn"](a_size(), samples=1)


def test_terms_added_to_a_leave_one_out_elbo_leave_it_one():
    more = recipes()["fdarn"](a_size(), samples=3).objective.with_terms(FreeBits())
    assert isinstance(more, LeaveOneOutELBO) and more.num_particles == 3 and len(more.terms) == 3


@EVERY_BAG
def test_the_programs_train_under_pyros_own_elbo(name):
    vae, batch = recipes()[name](a_size()).vae, a_batch(DOCUMENTS)
    optimiser = PyroOptim(torch.optim.Adam, {"lr": 0.02})
    svi = SVI(vae.model, vae.guide, optimiser, Trace_ELBO(num_particles=4, max_plate_nesting=MAX_PLATE_NESTING))
    losses: list[Any] = [svi.step(batch) for _ in range(60)]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])


def test_fdarn_learns_which_of_two_kinds_a_document_is():
    """Documents of two kinds, of equal share: one bit tells all there is. The bound comes within 0.15 nats of it."""
    documents = [[4, 5, 4, 5, 4, 5, 4, 5], [6, 7, 6, 7, 6, 7, 6, 7]] * 8
    vae_size = a_size(latent=2, hidden=8)
    made = recipes()["fdarn"](vae_size)
    objective, batch = Objective(made.vae, made.objective), a_batch(documents)
    optimiser = torch.optim.Adam(made.vae.parameters(), lr=0.03)
    for step in range(400):
        optimiser.zero_grad()
        objective(batch, step).backward()
        optimiser.step()
    with torch.no_grad():
        measured = torch.stack([objective(batch, 0) for _ in range(20)]).mean().item()
    least = math.log(2) + 8 * math.log(2)
    assert least - 0.02 < measured < least + 0.15


# Updates by turns


def test_alternating_updates_change_sides_after_so_many_epochs():
    def sides(epochs: int) -> list[str]:
        taken: list[str] = []

        def move(batch: Batch, side: Any) -> tuple[Tensor, Tensor]:
            taken.append(side)
            return torch.zeros(()), torch.zeros(())

        for finished in range(6):
            Alternating(epochs)(move, a_batch(), a_batch, [{}] * finished)
        return taken

    assert sides(1) == ["model", "guide"] * 3
    assert sides(2) == ["model", "model", "guide", "guide", "model", "model"]
    with pytest.raises(ValueError, match="'epochs' is 0, but a turn takes at least one epoch"):
        Alternating(0)
    with pytest.raises(ValueError, match="'alternate' is -1, but it is a number of epochs, or 0"):
        recipes()["g_nvdm"](a_size(), alternate=-1)


def test_in_its_turn_one_side_of_g_nvdm_moves_and_the_other_rests(tmp_path):
    def weights(run: Any, part: str) -> list[Tensor]:
        return [value for name, value in run.tensors("last.safetensors")[0].items() if name.startswith(f"vae.{part}")]

    first = train_tiny("g_nvdm", tmp_path, epochs=1, alternate=1)
    before = {part: weights(first, part) for part in ("encoder", "decoder")}
    torch.manual_seed(0)
    second = train_tiny("g_nvdm", tmp_path, epochs=2, alternate=1, resume=True)
    assert all(map(torch.equal, before["decoder"], weights(second, "decoder")))
    assert not any(map(torch.equal, before["encoder"], weights(second, "encoder")))


# Training


@EVERY_BAG
def test_no_document_is_cut_where_nothing_is_said(name, tmp_path):
    texts = [*some_texts(60), "a b " * 200]
    run = train_tiny(name, tmp_path / "whole", texts, epochs=1)
    assert run.corpus.options["max_length"] is None
    assert sum(n["truncated"] for n in run.corpus.counts.values()) == 0
    assert max(int(split.lengths.max()) for split in run.corpus.splits.values()) == 400
    cut = train_tiny(name, tmp_path / "cut", texts, epochs=1, max_length=7)
    assert max(int(split.lengths.max()) for split in cut.corpus.splits.values()) == 7


def test_a_document_without_a_known_word_is_refused_before_training(tmp_path):
    texts = [*["a b"] * 40, "once", "only"]
    with pytest.raises(ValueError, match=r"documents of 42 texts in memory have no word that the vocabulary knows"):
        train_tiny("g_nvdm", tmp_path / "run", texts, min_count=2)
    assert not (tmp_path / "run").exists()
    train_tiny("vae", tmp_path / "run", texts, min_count=2, epochs=1)  # <unk> is a word of a sentence


def test_a_matrix_of_counts_is_refused_by_a_model_of_sentences(tmp_path):
    with pytest.raises(ValueError, match=r"counts came, but 'vae' reads words in their order.*train .*'g_nvdm'"):
        train_tiny("vae", tmp_path / "run", Bags(np.eye(4, dtype=int), ["red", "rose", "bee", "hum"]))
    assert not (tmp_path / "run").exists()


def test_batches_of_bags_are_drawn_whatever_their_length(tmp_path, monkeypatch):
    asked = []

    class Noted(Batches):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            asked.append(kwargs.get("batching"))
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(loop, "Batches", Noted)
    train_tiny("g_nvdm", tmp_path / "bag", epochs=1)
    bags, asked[:] = asked[:], []
    train_tiny("vae", tmp_path / "sentences", epochs=1)
    assert set(bags) == {"random", "sorted"} and set(asked) == {"paired", "sorted"}  # the second of validation


def test_a_run_of_bags_goes_on_exactly_where_it_stopped(tmp_path):
    from tiny import assert_identical

    for name in BAGS:
        train_tiny(name, tmp_path / name / "whole", epochs=3)
        train_tiny(name, tmp_path / name / "parts", epochs=1)
        train_tiny(name, tmp_path / name / "parts", epochs=3, resume=True)
        assert_identical(tmp_path / name / "whole", tmp_path / name / "parts")


@EVERY_BAG
def test_a_run_of_bags_encodes_samples_evaluates_and_reports(name, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(some_texts()))
    run = train_tiny(name, tmp_path / "run", tmp_path / "texts.txt", epochs=2, finish=True)
    text = some_texts()[0]
    backwards = " ".join(reversed(text.split()))
    assert np.allclose(run.encode([text]), run.encode([backwards]))
    assert len(run.sample(3, max_length=6)[0].split()) == 6
    words = run.reconstruct([text], max_length=5)[0].split()
    assert len(set(words)) == len(words) == 5
    assert len(run.interpolate(text, some_texts()[1], steps=3)) == 3
    assert (run.directory / "report.md").exists() and run.figures()
    assert not any(name in run.verdict.advice for name in ("bn_vae", "lstm_lm", "dropout"))
    metrics = run.evaluate("test", samples=4)
    assert "perplexity_elbo" not in metrics and metrics["perplexity_per_document_importance_weighted"] > 1
    with pytest.raises(ValueError, match="swaps was asked for, but a bag of words has no order"):
        run.evaluate("test", swaps=[1])
    with pytest.raises(ValueError, match="bleu was asked for, but a bag of words has no order"):
        run.evaluate("test", bleu="greedy")
    with pytest.raises(ValueError, match="a model of bags of words writes no sentences"):
        run.evaluate_generation()


def test_a_run_of_bags_in_memory_takes_its_data_again(tmp_path, capsys):
    words = ["red", "rose", "bee", "hum"]
    bags = Bags(np.array([[2, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 3]] * 5), words)
    trained = train_tiny("g_nvdm", tmp_path, {"train": bags, "valid": bags}, epochs=1)
    expected = trained.describe_topics(words=3), trained.evaluate("valid")
    run = Run(tmp_path)
    named = r"evaluate\(data=\.\.\.\), describe_components\(data=\.\.\.\), describe_topics\(data=\.\.\.\)"
    with pytest.raises(ValueError, match=f"pass them to {named}"):
        run.describe_topics(words=3)
    assert main(["topics", str(tmp_path)]) == 1 and "'topics RUN --data FILE'" in capsys.readouterr().err
    (tmp_path / "vocab.txt").write_text("\n".join(["hum", "unheard", *words[:3]]))
    rows = ["1 3:2 4:1", "1 5:1 1:1", "1 3:1 4:1", "1 4:1 5:1 1:3"] * 5
    (tmp_path / "own.feat").write_text("\n".join(rows))
    texts = ["rose red red", "hum bee", "red rose", "hum hum hum bee rose"] * 5
    for data in (bags, tmp_path / "own.feat", texts, {"train": bags, "test": bags}):
        assert run.describe_topics(words=3, data=data) == expected[0]
        assert run.evaluate(data=data) == pytest.approx(expected[1] | {"unknown_words_share": 0.0})
    assert main(["topics", str(tmp_path), "--words", "3", "--data", str(tmp_path / "own.feat")]) == 0
    with pytest.raises(ValueError, match="1 of 2 texts have no word that the run's vocabulary knows, such as number 2"):
        run.evaluate(data=["red rose", "unheard"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v_nvdm", {"samples": 0}, "'samples' is 0, but a step takes at least one of each document"),
        ("v_nvdm", {"concentration": 0.0}, "'concentration' is 0.0, but a posterior's must be positive"),
        ("fdarn", {"samples": 1}, "leaving one out needs at least 2"),
    ],
)
def test_an_option_out_of_range_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        recipes()[name](a_size(), **options)


def test_the_log_variance_of_g_nvdm_begins_at_zero_for_every_document():
    made: Recipe = recipes()["g_nvdm"](a_size())
    assert (made.vae.q_z(a_batch()).base_dist.scale == 1).all()  # pyright: ignore[reportAttributeAccessIssue]
    assert pyro.get_param_store().keys() == dict().keys()
