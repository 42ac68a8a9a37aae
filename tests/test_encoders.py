import pytest
import torch
from small import SENTENCES, a_batch, a_size

from pyro_textvae.encoders import NoEncoder, RecurrentEncoder, at_least_float32

NETWORKS = [
    {"cell": cell, "layers": layers, "bidirectional": bidirectional}
    for cell in ("lstm", "gru")
    for layers in (1, 2)
    for bidirectional in (False, True)
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_sentence_has_the_same_features_in_any_company(network):
    size = a_size(**network)
    encoder = RecurrentEncoder(size)
    together = encoder(a_batch())
    assert together.shape == (len(SENTENCES), size.features)
    for i, sentence in enumerate(SENTENCES):
        alone = encoder(a_batch([sentence]))[0]
        padded = encoder(a_batch([[5] * 30, sentence]))[1]
        torch.testing.assert_close(together[i], alone, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-5)


def test_features_are_the_last_states_of_reading_forwards_and_backwards():
    encoder = RecurrentEncoder(a_size(bidirectional=True))
    features = encoder(a_batch([[4, 5, 6], [7]]))
    assert encoder.backwards is not None
    for row, tokens in zip(features, [[1, 4, 5, 6, 2], [1, 7, 2]], strict=True):
        forwards = encoder.forwards(encoder.embedding(torch.tensor([tokens])))[0][0, -1]
        backwards = encoder.backwards(encoder.embedding(torch.tensor([tokens[::-1]])))[0][0, -1]
        torch.testing.assert_close(row, torch.cat([forwards, backwards]))


def test_padding_gets_no_gradient():
    encoder = RecurrentEncoder(a_size(bidirectional=True))
    encoder(a_batch()).square().sum().backward()
    assert encoder.embedding.weight.grad is not None
    assert not encoder.embedding.weight.grad[0].any()


def test_a_language_model_has_no_features():
    assert NoEncoder()(a_batch()).shape == (len(SENTENCES), 0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_precision_is_raised_to_float32_and_never_lowered(given, kept):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == kept
