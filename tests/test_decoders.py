import itertools

import pytest
import torch
from scipy.stats import chisquare
from small import SENTENCES, a_batch, a_size, roughen
from torch import Tensor

from pyro_textvae.corpus import BOS, EOS, PAD, UNK
from pyro_textvae.decoders import RecurrentDecoder, Sentences
from pyro_textvae.linear_cross_entropy import linear_cross_entropy

CODE = 3
NETWORKS = [
    {"cell": cell, "layers": layers, "tied": tied, "z_enters": z_enters}
    for cell in ("lstm", "gru")
    for layers in (1, 2)
    for tied in (False, True)
    for z_enters in ("state", "steps", "both")
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))


def a_decoder(code: int = CODE, **changes) -> RecurrentDecoder:
    decoder = RecurrentDecoder(a_size(**changes), code)
    roughen(decoder)
    return decoder.requires_grad_(False)


def codes(count: int = len(SENTENCES)) -> Tensor:
    return torch.randn(count, CODE)


@every_network
def test_a_sentences_log_probability_is_the_sum_over_its_words_and_its_end(network):
    decoder, batch, code = a_decoder(**network), a_batch(), codes()
    whole = decoder.log_prob(code, batch)
    for i, sentence in enumerate(SENTENCES):
        state = decoder.start(code[i : i + 1])
        total = torch.zeros(())
        for word, following in itertools.pairwise([BOS, *sentence, EOS]):
            logits, state = decoder.step(torch.tensor([word]), code[i : i + 1], state)
            total = total + logits.log_softmax(-1)[0, following]
        torch.testing.assert_close(whole[i], total, atol=1e-5, rtol=1e-5)


@every_network
def test_neither_padding_nor_company_changes_a_log_probability(network):
    decoder, code = a_decoder(**network), codes()
    together = decoder.log_prob(code, a_batch())
    longer = decoder.log_prob(torch.cat([codes(1), code]), a_batch([[5] * 30, *SENTENCES]))
    backwards = decoder.log_prob(code.flip(0), a_batch(SENTENCES[::-1]))
    torch.testing.assert_close(longer[1:], together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_all_sentences_and_all_unfinished_ones_have_probability_one(cell):
    decoder, limit = a_decoder(vocabulary=5, cell=cell).double(), 3
    words = [word for word in range(5) if word != EOS]
    finished = [list(s) for n in range(limit + 1) for s in itertools.product(words, repeat=n)]
    code = torch.randn(1, CODE, dtype=torch.float64)
    ended = decoder.log_prob(code.expand(len(finished), -1), a_batch(finished)).exp().sum()
    unfinished = torch.tensor(list(itertools.product(words, repeat=limit + 1)))
    many = code.expand(len(unfinished), -1)
    previous, state, log_prob = torch.full((len(unfinished),), BOS), decoder.start(many), torch.zeros(())
    for word in unfinished.T:
        logits, state = decoder.step(previous, many, state)
        log_prob = log_prob + logits.log_softmax(-1).gather(1, word[:, None])[:, 0]
        previous = word
    assert ended < 1
    torch.testing.assert_close(ended + log_prob.exp().sum(), torch.ones((), dtype=torch.float64))


def test_drawn_sentences_come_as_often_as_their_probability_says():
    decoder, count = a_decoder(vocabulary=5), 20_000
    code = codes(1)
    drawn = Sentences(decoder, code.expand(count, -1), a_batch([[3]] * count)).sample()  # (count, 3): <s> and two more
    assert (drawn[:, 0] == BOS).all()
    first, state = decoder.step(torch.tensor([BOS]), code, decoder.start(code))
    expected: dict[tuple[int, int], float] = {}
    for word in range(5):
        p = first.softmax(-1)[0, word].item()
        if word == EOS:
            expected[word, PAD] = p
            continue
        second, _ = decoder.step(torch.tensor([word]), code, state)
        expected |= {(word, after): p * second.softmax(-1)[0, after].item() for after in range(5)}
    pairs = [tuple(row) for row in drawn[:, 1:].tolist()]
    assert set(pairs) <= set(expected)
    observed = [pairs.count(pair) for pair in expected]
    assert chisquare(observed, [count * p / sum(expected.values()) for p in expected.values()]).pvalue > 1e-3


def test_nothing_but_padding_follows_the_end():
    drawn = Sentences(a_decoder(), codes(200), a_batch([[4] * 12] * 200)).sample()
    for row in drawn.tolist():
        if EOS in row:
            assert not any(row[row.index(EOS) + 1 :])


@pytest.mark.parametrize("z_enters", ["state", "steps", "both"])
def test_the_code_enters_where_it_was_told_to(z_enters):
    decoder = a_decoder(z_enters=z_enters)
    code, other = codes(1), codes(1)
    assert any(state.any() for state in decoder.start(code)) == (z_enters in ("state", "both"))
    assert decoder.network.input_size == 8 + (CODE if z_enters in ("steps", "both") else 0)
    batch = a_batch([[4, 5]])
    assert not torch.allclose(decoder.log_prob(code, batch), decoder.log_prob(other, batch))


@pytest.mark.parametrize("z_enters", ["state", "steps", "both"])
def test_a_code_of_width_zero_makes_a_language_model(z_enters):
    decoder = a_decoder(code=0, z_enters=z_enters)
    assert decoder.log_prob(torch.empty(5, 0), a_batch()).shape == (5,)
    assert decoder.start_state is None


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_first_state_is_the_code_seen_through_tanh(cell):
    decoder, code = a_decoder(cell=cell, layers=2), codes(4)
    assert decoder.start_state is not None
    state = decoder.start(code)
    cells = decoder.start_state(code).reshape(4, 2, 8).transpose(0, 1)
    torch.testing.assert_close(state[0], cells.tanh())
    if cell == "lstm":
        torch.testing.assert_close(state[1], cells)


def test_tied_weights_are_one_and_the_first_predictions_nearly_uniform():
    decoder = RecurrentDecoder(a_size(vocabulary=50, embedding=32, tied=True), CODE)
    assert sum(p.numel() == 50 * 32 for p in decoder.parameters()) == 1
    logits, _ = decoder.step(torch.tensor([BOS]), codes(1), decoder.start(codes(1)))
    assert logits.std().item() < 0.2


def test_words_are_dropped_in_training_alone_and_never_the_start():
    decoder, batch = a_decoder(word_dropout=0.5), a_batch([[4] * 50] * 20 + [[5]])
    dropped = decoder._drop_words(batch.inputs)
    words = batch.inputs > EOS
    kept = (batch.inputs == BOS) | (batch.inputs == PAD)
    assert 0.4 < (dropped[words] == UNK).float().mean().item() < 0.6
    assert torch.equal(dropped[kept], batch.inputs[kept])
    assert torch.equal(dropped.where(dropped != UNK, batch.inputs), batch.inputs)
    assert torch.equal(decoder.eval()._drop_words(batch.inputs), batch.inputs)


def test_dropout_is_for_training_alone():
    decoder, code, batch = a_decoder(dropout=0.5), codes(), a_batch()
    assert not torch.equal(decoder.log_prob(code, batch), decoder.log_prob(code, batch))
    decoder.eval()
    assert torch.equal(decoder.log_prob(code, batch), decoder.log_prob(code, batch))


def test_padding_reaches_neither_the_output_layer_nor_a_gradient(monkeypatch):
    decoder = a_decoder().requires_grad_(True)
    seen: list[int] = []

    def scored(inputs: Tensor, *layer: Tensor) -> Tensor:
        seen.append(len(inputs))
        return linear_cross_entropy(inputs, *layer)

    monkeypatch.setattr("pyro_textvae.decoders.linear_cross_entropy", scored)
    decoder.log_prob(codes(), a_batch()).sum().backward()
    assert seen == [sum(len(sentence) + 1 for sentence in SENTENCES)]
    assert decoder.embedding.weight.grad is not None
    assert not decoder.embedding.weight.grad[PAD].any()


def test_double_precision_is_kept():
    decoder = a_decoder().double()
    assert decoder.log_prob(codes().double(), a_batch()).dtype == torch.float64


# Sentences as a distribution


def test_the_shapes_are_those_of_the_batchs_tokens():
    batch = a_batch()
    sentences = Sentences(a_decoder(), codes(), batch)
    assert (sentences.batch_shape, sentences.event_shape) == ((5,), (7,))
    assert sentences.log_prob(batch.tokens).shape == (5,)
    torch.testing.assert_close(sentences.log_prob(batch.tokens.clone()), sentences.log_prob(batch.tokens))
    assert sentences.expand(torch.Size([5])) is sentences


def test_other_sentences_than_the_batchs_are_refused():
    with pytest.raises(ValueError, match="only the sentences of the batch that the distribution was made with"):
        Sentences(a_decoder(), codes(), a_batch()).log_prob(a_batch().tokens + 1)


def test_another_batch_shape_is_refused():
    with pytest.raises(ValueError, match=r"sentences of batch shape \(5,\) cannot be expanded to \(2, 5\)"):
        Sentences(a_decoder(), codes(), a_batch()).expand((2, 5))


def test_a_code_with_further_axes_is_refused():
    with pytest.raises(ValueError, match=r"a code of shape \(2, 5, 3\), but it takes \(sentences, numbers\)"):
        Sentences(a_decoder(), torch.zeros(2, 5, 3), a_batch())


def test_several_draws_for_one_code_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="draw one sentence for each code at a time"):
        Sentences(a_decoder(), codes(), a_batch()).sample((2,))
