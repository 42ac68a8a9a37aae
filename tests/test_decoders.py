import itertools
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from small import SENTENCES, a_batch, a_size, roughen
from torch import Tensor

from pyro_textvae.corpus import BOS, EOS, PAD, UNK
from pyro_textvae.decoders import (
    DILATIONS,
    Decoder,
    DilatedDecoder,
    LinearStartDecoder,
    RecurrentDecoder,
    Sentences,
    SkipDecoder,
)
from pyro_textvae.linear_cross_entropy import linear_cross_entropy

CODE = 3
KINDS = {kind.__name__: kind for kind in (RecurrentDecoder, LinearStartDecoder, SkipDecoder, DilatedDecoder)}
NETWORKS = [
    {"cell": cell, "layers": layers, "tied": tied, "z_enters": z_enters}
    for cell in ("lstm", "gru")
    for layers in (1, 2)
    for tied in (False, True)
    for z_enters in ("state", "steps", "both")
] + [
    {"kind": "SkipDecoder", "cell": cell, "tied": tied, "z_enters": z_enters}
    for cell, z_enters in (("lstm", "both"), ("gru", "state"))
    for tied in (False, True)
] + [
    {"kind": "LinearStartDecoder", "cell": "lstm"},
    *({"kind": "DilatedDecoder", "tied": tied} for tied in (False, True)),
]  # fmt: skip
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
every_kind = pytest.mark.parametrize("kind", KINDS)


def a_decoder(code: int = CODE, kind: str = "RecurrentDecoder", **changes) -> Any:
    decoder = KINDS[kind](a_size(**changes), code)
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


@every_kind
def test_all_sentences_and_all_unfinished_ones_have_probability_one(kind):
    decoder, limit = a_decoder(vocabulary=5, kind=kind).double(), 3
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


@every_kind
def test_drawn_sentences_come_as_often_as_their_probability_says(kind):
    decoder, count = a_decoder(vocabulary=5, kind=kind), 20_000
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


@every_kind
@pytest.mark.parametrize("z_enters", ["steps", "both"])
def test_a_code_of_width_zero_makes_a_language_model(kind, z_enters):
    decoder = a_decoder(code=0, kind=kind, z_enters=z_enters)
    assert decoder.log_prob(torch.empty(5, 0), a_batch()).shape == (5,)
    assert not any(state.any() for state in decoder.start(torch.empty(5, 0)))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_first_state_is_the_code_seen_through_tanh(cell):
    decoder, code = a_decoder(cell=cell, layers=2), codes(4)
    assert decoder.start_state is not None
    state = decoder.start(code)
    cells = decoder.start_state(code).reshape(4, 2, 8).transpose(0, 1)
    torch.testing.assert_close(state[0], cells.tanh())
    if cell == "lstm":
        torch.testing.assert_close(state[1], cells)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_linear_start_is_the_code_as_it_is_and_an_empty_cell(cell):
    decoder, code = a_decoder(kind="LinearStartDecoder", cell=cell, layers=2), codes(4)
    h, *cells = decoder.start(code)
    expected = code @ decoder.start_state.weight.T + decoder.start_state.bias
    torch.testing.assert_close(h, expected.reshape(4, 2, 8).transpose(0, 1))
    assert len(cells) == (cell == "lstm") and not any(each.any() for each in cells)


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


@every_kind
def test_dropout_is_for_training_alone(kind):
    decoder, code, batch = a_decoder(dropout=0.5, kind=kind), codes(), a_batch()
    assert not torch.equal(decoder.log_prob(code, batch), decoder.log_prob(code, batch))
    decoder.eval()
    assert torch.equal(decoder.log_prob(code, batch), decoder.log_prob(code, batch))


@every_kind
def test_padding_reaches_neither_the_output_layer_nor_a_gradient(monkeypatch, kind):
    decoder = a_decoder(kind=kind).requires_grad_(True)
    seen: list[int] = []

    def scored(inputs: Tensor, *layer: Tensor) -> Tensor:
        seen.append(len(inputs))
        return linear_cross_entropy(inputs, *layer)

    monkeypatch.setattr("pyro_textvae.decoders.linear_cross_entropy", scored)
    decoder.log_prob(codes(), a_batch()).sum().backward()
    assert seen == [sum(len(sentence) + 1 for sentence in SENTENCES)]
    assert decoder.embedding.weight.grad is not None
    assert not decoder.embedding.weight.grad[PAD].any()


@every_kind
def test_double_precision_is_kept(kind):
    decoder = a_decoder(kind=kind).double()
    assert decoder.log_prob(codes().double(), a_batch()).dtype == torch.float64


# What each adds


def test_dropout_takes_the_output_but_never_the_code_from_the_layer_that_sees_both():
    decoder = a_decoder(kind="SkipDecoder", dropout=0.9)
    outputs = torch.ones(200, 8 + CODE)
    dropped = decoder._drop_outputs(outputs)
    assert 0.85 < (dropped[:, :8] == 0).float().mean().item() < 0.95
    assert torch.equal(dropped[:, 8:], outputs[:, 8:])


def test_a_skip_connection_that_weighs_nothing_leaves_the_recurrent_decoder():
    skip, plain, code = a_decoder(kind="SkipDecoder"), a_decoder(), codes()
    plain.load_state_dict({**skip.state_dict(), "output.weight": skip.output.weight[:, :8]})
    assert not torch.allclose(skip.log_prob(code, a_batch()), plain.log_prob(code, a_batch()))
    skip.output.weight[:, 8:] = 0
    torch.testing.assert_close(skip.log_prob(code, a_batch()), plain.log_prob(code, a_batch()))


@every_kind
def test_no_word_changes_the_prediction_of_an_earlier_one(kind):
    decoder, code, words = a_decoder(kind=kind), codes(1), torch.randint(4, 12, (1, 20))
    before, _ = decoder.states(words, code, decoder.start(code))
    for t in range(20):
        changed = words.clone()
        changed[0, t] = 4 + (words[0, t] - 3) % 8
        after, _ = decoder.states(changed, code, decoder.start(code))
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t], before[:, t])


@pytest.mark.parametrize(("width", "seen"), [("small", 15), ("medium", 63), ("large", 125), ("very large", 187)])
def test_a_dilated_decoder_sees_as_many_words_back_as_its_width_says_and_no_more(monkeypatch, width, seen):
    decoder, code = DilatedDecoder(a_size(hidden=32), CODE, DILATIONS[width]).double(), codes(1).double()
    embedded = torch.randn(1, 200, 8, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(decoder, "_embed", lambda words: embedded)
    outputs, _ = decoder.states(torch.zeros(1, 200, dtype=torch.long), code, decoder.start(code))
    (gradient,) = torch.autograd.grad(outputs[0, -1].square().sum(), embedded)
    reached = gradient[0].any(-1).nonzero().flatten()
    assert reached.min().item() == 200 - seen and reached.max().item() == 199


def test_the_state_of_a_dilated_decoder_does_not_grow_with_the_words_before():
    decoder, code = a_decoder(kind="DilatedDecoder"), codes(2)
    state = decoder.start(code)
    shapes = [(2, 2, 4), (4, 2, 4), (8, 2, 4)]
    for _ in range(30):
        assert [tuple(part.shape) for part in state] == shapes
        _, state = decoder.step(torch.tensor([4, 5]), code, state)


def test_a_dilated_decoder_goes_on_from_where_another_pass_stopped():
    decoder, code, words = a_decoder(kind="DilatedDecoder"), codes(3), torch.randint(4, 12, (3, 40))
    whole, last = decoder.states(words, code, decoder.start(code))
    state, parts = decoder.start(code), []
    for part in words.split([1, 2, 20, 17], 1):
        outputs, state = decoder.states(part, code, state)
        parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    for a, b in zip(state, last, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_dilated_decoder_is_refused_what_it_cannot_be():
    with pytest.raises(ValueError, match="'hidden' is 3, but a dilated decoder has at least 4 channels"):
        DilatedDecoder(a_size(hidden=3), CODE)
    with pytest.raises(ValueError, match="'z_enters' is 'state', but a convolution has none"):
        DilatedDecoder(a_size(z_enters="state"), CODE)


def test_a_decoder_is_defined_by_its_start_and_its_states():
    class Bigrams(Decoder):
        """Of ones own: every word from the word before it alone."""

        def __init__(self, size: Any, code: int) -> None:
            super().__init__(size, code)
            self._make_output(size.embedding)

        def start(self, code: Tensor) -> tuple[Tensor, ...]:
            return ()

        def states(self, words: Tensor, code: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            return self._embed(words), state

    decoder, batch = Bigrams(a_size(), 0), a_batch()
    table = decoder.logits(decoder.embedding.weight).log_softmax(-1)
    pairs = [torch.tensor(list(itertools.pairwise([BOS, *sentence, EOS]))) for sentence in SENTENCES]
    expected = [table[pair[:, 0], pair[:, 1]].sum() for pair in pairs]
    torch.testing.assert_close(decoder.log_prob(torch.empty(5, 0), batch), torch.stack(expected))


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
