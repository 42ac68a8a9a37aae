import itertools

import pytest
import torch
from small import roughen
from torch import Tensor

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import BOS, EOS, PAD, UNK
from pyro_textvae.decoders import Decoder, DilatedDecoder, RecurrentDecoder, SkipDecoder
from pyro_textvae.evaluation import beam, greedy, linear, sample, spherical
from pyro_textvae.size import Size

V, LONGEST = 7, 3


def decoder(seed: int, cell: str = "lstm", layers: int = 1) -> RecurrentDecoder:
    """Random weights, so large that the words before and the code matter."""
    torch.manual_seed(seed)
    made = RecurrentDecoder(Size(V, embedding=4, hidden=6, latent=2, layers=layers, cell=cell), code=2)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3.0)
    return made.eval()


@torch.no_grad()
def log_prob(made: Decoder, code: Tensor, words: list[int], longest: int = LONGEST) -> float:
    """Of a written sentence: with its </s>, unless it was cut at the greatest length."""
    state, last, total = made.start(code[None]), BOS, 0.0
    for word in [*words, EOS][:longest]:
        logits, state = made.step(torch.tensor([last]), code[None], state)
        total += logits.double().log_softmax(-1)[0, word].item()
        last = word
    return total


def written(longest: int = LONGEST) -> list[list[int]]:
    """Every sentence that can be written."""
    symbols = [word for word in range(V) if word not in (PAD, BOS, EOS)]
    return [list(s) for length in range(longest + 1) for s in itertools.product(symbols, repeat=length)]


@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("gru", 2)])
def test_greedy_takes_the_most_probable_word_at_every_step(cell: str, layers: int):
    made, codes = decoder(0, cell, layers), torch.randn(5, 2)
    for code, sentence in zip(codes, greedy(made, codes, 6), strict=True):
        state, last = made.start(code[None]), BOS
        for word in [*sentence, EOS][:6]:
            logits, state = made.step(torch.tensor([last]), code[None], state)
            logits[0, [PAD, BOS]] = -torch.inf
            assert logits.argmax().item() == word
            last = word


def test_a_beam_of_one_is_greedy():
    for seed in range(5):
        made, codes = decoder(seed), torch.randn(6, 2)
        assert beam(made, codes, 1, 8) == greedy(made, codes, 8)


@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_beam_is_never_less_probable_than_greedy_nor_more_than_the_best_of_all(width: int):
    better = 0
    for seed in range(8):
        made, codes = decoder(seed), torch.randn(4, 2)
        for code, a, b in zip(codes, beam(made, codes, width, LONGEST), greedy(made, codes, LONGEST), strict=True):
            best = max(log_prob(made, code, words) for words in written())
            found = log_prob(made, code, a)
            assert log_prob(made, code, b) - 1e-9 <= found <= best + 1e-9
            better += a != b
    assert better > 0


def test_a_beam_as_wide_as_the_language_finds_its_most_probable_sentence():
    for seed in range(6):
        made, codes = decoder(seed), torch.randn(3, 2)
        for code, found in zip(codes, beam(made, codes, len(written()), LONGEST), strict=True):
            assert found == max(written(), key=lambda words: log_prob(made, code, words))


def test_the_sentences_of_a_batch_are_those_written_one_by_one():
    made, codes = decoder(3), torch.randn(6, 2)
    for write in (greedy, beam):
        assert write(made, codes, max_length=8) == [write(made, code[None], max_length=8)[0] for code in codes]


def test_a_written_sentence_is_scored_by_the_decoder_as_beam_search_scored_it():
    made, codes = decoder(1), torch.randn(20, 2)
    for code, words in zip(codes, beam(made, codes, 3, 30), strict=True):
        if len(words) < 30:
            expected = made.log_prob(code[None], Batch.collate([words])).item()
            assert log_prob(made, code, words, 30) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", [SkipDecoder, DilatedDecoder])
def test_any_decoder_is_written_with_and_its_beam_is_never_less_probable_than_greedy(kind: type[Decoder]):
    for seed in range(2):
        torch.manual_seed(seed)
        made, codes = kind(Size(V, embedding=4, hidden=6, latent=2), 2).eval(), torch.randn(3, 2)
        roughen(made, 1.0, seed)
        ends, drawn = beam(made, codes, 4, LONGEST), greedy(made, codes, LONGEST)
        assert drawn == [greedy(made, code[None], LONGEST)[0] for code in codes]
        assert ends == [beam(made, code[None], 4, LONGEST)[0] for code in codes]
        for code, a, b in zip(codes, ends, drawn, strict=True):
            found, best = log_prob(made, code, a), max(log_prob(made, code, words) for words in written())
            assert log_prob(made, code, b) - 1e-9 <= found <= best + 1e-9


def test_nothing_written_has_padding_or_a_start_and_no_sentence_is_longer_than_asked():
    made, codes = decoder(2), torch.randn(50, 2)
    for sentences in (greedy(made, codes, 4), sample(made, codes, 4, temperature=3.0), beam(made, codes, 3, 4)):
        assert len(sentences) == 50
        assert all(len(s) <= 4 and not {PAD, BOS, EOS} & set(s) for s in sentences)


def test_samples_follow_the_decoder_and_its_temperature():
    made, code = decoder(4), torch.randn(1, 2)
    logits = made.step(torch.tensor([BOS]), code, made.start(code))[0][0].detach()
    for temperature in (1.0, 2.0):
        weights = (logits.log_softmax(-1) / temperature).exp()
        weights[[PAD, BOS]] = 0
        expected = weights / weights.sum()
        firsts = [s[0] if s else EOS for s in sample(made, code.expand(4000, 2), 1, temperature)]
        found = torch.bincount(torch.tensor(firsts), minlength=V) / 4000
        assert (found - expected).abs().max() < 4 * 0.5 / 4000**0.5


def test_a_cold_sample_is_greedy():
    made, codes = decoder(5), torch.randn(6, 2)
    assert sample(made, codes, 6, temperature=1e-6) == greedy(made, codes, 6)


def test_the_unknown_word_can_be_forbidden():
    made, codes = decoder(6), torch.randn(200, 2)
    assert any(UNK in s for s in sample(made, codes, 6, 3.0))
    assert not any(UNK in s for s in sample(made, codes, 6, 3.0, forbid_unk=True))


def test_no_codes_give_no_sentences():
    made, none = decoder(0), torch.empty(0, 2)
    assert greedy(made, none) == sample(made, none) == beam(made, none) == []


@pytest.mark.parametrize("ask", [
    lambda made, codes: sample(made, codes, temperature=0.0),
    lambda made, codes: beam(made, codes, 0),
    lambda made, codes: greedy(made, codes, 0),
])  # fmt: skip
def test_sizes_out_of_range_are_refused(ask):
    with pytest.raises(ValueError, match="came, but"):
        ask(decoder(0), torch.randn(1, 2))


# --- paths


def test_a_straight_path_goes_in_equal_steps_from_end_to_end():
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    path = linear(a, b, 5)
    assert path.shape == (5, 3, 4)
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]))
    torch.testing.assert_close(path.diff(dim=0), ((b - a) / 4).expand(4, 3, 4))


@pytest.mark.parametrize("dimensions", [2, 3, 16])
def test_a_great_circle_stays_on_the_sphere_in_equal_angles_from_end_to_end(dimensions: int):
    a, b = torch.nn.functional.normalize(torch.randn(2, 6, dimensions), dim=-1)
    path = spherical(a, b, 9)
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(9, 6))
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]), atol=1e-5, rtol=0)
    chords = path.diff(dim=0).norm(dim=-1)
    torch.testing.assert_close(chords, chords[:1].expand_as(chords), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        8 * 2 * (chords[0] / 2).arcsin(), (a * b).sum(-1).clamp(-1, 1).arccos(), atol=2e-3, rtol=0
    )


def test_a_great_circle_between_opposite_or_equal_or_close_points_stays_on_the_sphere():
    a = torch.nn.functional.normalize(torch.randn(20, 5), dim=-1)
    for b in (-a, a, torch.nn.functional.normalize(a + 1e-5 * torch.randn(20, 5), dim=-1)):
        path = spherical(a, b, 7)
        torch.testing.assert_close(path.norm(dim=-1), torch.ones(7, 20))
        torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]), atol=1e-5, rtol=0)


def test_lengths_other_than_one_go_from_one_to_the_other():
    path = spherical(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]), 3)
    torch.testing.assert_close(path.norm(dim=-1), torch.tensor([2.0, 3.0, 4.0]))


def test_a_path_needs_two_ends_and_a_direction():
    with pytest.raises(ValueError, match="2 ends"):
        linear(torch.zeros(2), torch.ones(2), 1)
    with pytest.raises(ValueError, match="length 0"):
        spherical(torch.zeros(2), torch.ones(2), 3)
