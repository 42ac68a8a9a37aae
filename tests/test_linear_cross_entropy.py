from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_textvae import linear_cross_entropy as module
from pyro_textvae.linear_cross_entropy import ROWS, linear_cross_entropy, plain_linear_cross_entropy

IN_CACHE = 50  # rows of the words here
COUNTS = (1, IN_CACHE, ROWS - 1, ROWS, 2 * ROWS + 3)


@pytest.fixture(autouse=True)
def some_blocks(monkeypatch):
    monkeypatch.setattr(module, "CACHED", 11 * IN_CACHE)


def an_output_layer(count: int, dtype: torch.dtype = torch.float64, bias: bool = True) -> list[Any]:
    generator = torch.Generator().manual_seed(count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    targets = torch.randint(11, (count,), generator=generator)
    return [normal(count, 5), normal(11, 5), normal(11) if bias else None, targets]


def differentiated(function, layer: list[Any], scale: Tensor) -> list[Tensor]:
    inputs = [tensor for tensor in layer[:3] if tensor is not None]
    losses = function(*layer)
    return [losses.detach(), *torch.autograd.grad((losses * scale).sum(), inputs)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_pytorchs(count, bias):
    layer, scale = an_output_layer(count, bias=bias), torch.randn(count, dtype=torch.float64)
    expected = differentiated(plain_linear_cross_entropy, layer, scale)
    torch.testing.assert_close(differentiated(linear_cross_entropy, layer, scale), expected, atol=1e-13, rtol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(linear_cross_entropy, an_output_layer(3))


@pytest.mark.parametrize("fixed", [0, 1])
def test_what_needs_no_gradient_gets_none(fixed):
    layer = an_output_layer(4)
    layer[fixed].requires_grad_(False)
    linear_cross_entropy(*layer).sum().backward()
    assert [tensor.grad is None for tensor in layer[:3]] == [i == fixed for i in range(3)]


@pytest.mark.parametrize("count", COUNTS)
def test_without_gradients_the_value_is_the_same(count):
    layer = an_output_layer(count)
    with torch.no_grad():
        without = linear_cross_entropy(*layer)
    torch.testing.assert_close(without, linear_cross_entropy(*layer).detach())


def test_logits_beyond_what_exp_can_hold_give_finite_losses_and_gradients():
    inputs, weight, bias, targets = an_output_layer(4, torch.float32)
    layer = [(1e4 * inputs.detach()).requires_grad_(), weight, bias, targets]
    got = differentiated(linear_cross_entropy, layer, torch.ones(4))
    assert all(torch.isfinite(tensor).all() for tensor in got)


def test_under_autocast_losses_are_float32_and_as_near_as_pytorchs():
    layer, scale = an_output_layer(2 * ROWS + 3, torch.float32), torch.ones(2 * ROWS + 3)
    exact = differentiated(plain_linear_cross_entropy, layer, scale)
    with torch.autocast("cpu", torch.bfloat16):
        ours = differentiated(linear_cross_entropy, layer, scale)
        theirs = differentiated(plain_linear_cross_entropy, layer, scale)
    assert all(tensor.dtype == torch.float32 for tensor in ours)
    for tensor, other, true in zip(ours, theirs, exact, strict=True):
        assert (tensor - true).abs().max() <= 1.5 * (other - true).abs().max()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("function", [linear_cross_entropy, plain_linear_cross_entropy])
def test_the_second_derivative_is_that_of_finite_differences(function, bias):
    assert torch.autograd.gradgradcheck(function, an_output_layer(3, bias=bias))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("wanted", [[0], [1], [2], [0, 1, 2]])
def test_second_derivatives_are_pytorchs(count, wanted):
    layer, scale = an_output_layer(count), torch.randn(count, dtype=torch.float64, requires_grad=True)

    def twice(function) -> list[Tensor]:
        first = torch.autograd.grad((function(*layer) * scale).sum(), [layer[i] for i in wanted], create_graph=True)
        return list(
            torch.autograd.grad(torch.stack([each.square().sum() for each in first]).sum(), [*layer[:3], scale])
        )

    torch.testing.assert_close(twice(linear_cross_entropy), twice(plain_linear_cross_entropy), atol=1e-12, rtol=1e-11)


def test_second_derivatives_under_autocast_are_within_three_times_pytorchs_rounding():
    layer = an_output_layer(2 * ROWS + 3, torch.float32)

    def twice(function) -> list[Tensor]:
        (first,) = torch.autograd.grad(function(*layer).sum(), layer[0], create_graph=True)
        return list(torch.autograd.grad(first.square().sum(), layer[:3]))

    exact = twice(plain_linear_cross_entropy)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = twice(linear_cross_entropy), twice(plain_linear_cross_entropy)
    for tensor, other, true in zip(ours, theirs, exact, strict=True):
        assert (tensor - true).norm() <= 3 * (other - true).norm() < 0.1 * true.norm()


def test_a_third_derivative_is_refused():
    inputs, *rest = an_output_layer(3)
    (first,) = torch.autograd.grad(linear_cross_entropy(inputs, *rest).sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()
