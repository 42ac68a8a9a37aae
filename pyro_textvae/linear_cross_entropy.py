"""The output layer and the cross-entropy of its words in one: where most of a training step goes.

Plain PyTorch writes the logits of N tokens and V words, reads them for log-probabilities, and reads and writes them
again for the gradient. On the CPU that traffic costs as much as one of the three matrix products. Here the logits are
turned into their own gradient where they stand, so few rows at a time that these stay in the cache meanwhile.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CACHED = 1 << 18
"""Logits that are read and written again at a time: 1 MB in float32, half of a core's second cache."""
ROWS = 128
"""Tokens, at least, whose logits are made at a time where they are not kept: with V = 10,000 words 5 MB in float32."""


def linear_cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """-log softmax(inputs weight' + bias) at the targets: (N, H), (V, H), (V,) and (N,) to (N,) nats, float32 or wider.

    Twice differentiable (`create_graph=True`). On the CPU torch.func cannot see its gradient, nor is there a third one:
    `plain_linear_cross_entropy` has both. Elsewhere it is that.
    """
    if inputs.device.type != "cpu":
        return plain_linear_cross_entropy(inputs, weight, bias, targets)
    if torch.is_autocast_enabled("cpu"):
        to = torch.get_autocast_dtype("cpu")
        inputs, weight, bias = inputs.to(to), weight.to(to), None if bias is None else bias.to(to)
    with torch.autocast("cpu", enabled=False):
        if torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad):
            return _LinearCrossEntropy.apply(inputs, weight, bias, targets)  # pyright: ignore[reportReturnType]
        rows = max(ROWS, CACHED // len(weight))
        blocks = zip(inputs.split(rows), targets.split(rows), strict=True)
        return torch.cat([_without_gradient(some, weight, bias, words) for some, words in blocks])


def plain_linear_cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The same by PyTorch's own functions: differentiable as often as one likes, with all logits in memory."""
    logits = F.linear(inputs, weight, bias)
    return F.cross_entropy(_wide(logits), targets, reduction="none")


def _blocks(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Logits (N, V) and others (N, ...), cut alike into as many rows as the cache holds of the logits."""
    rows = max(1, CACHED // logits.shape[1])
    return zip(*(each.split(rows) for each in (logits, *others)), strict=True)


def _exponentiate(logits: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """-log softmax at the words (n, 1), and the sum (n, 1) of the exponentials that the logits are turned into."""
    logits -= logits.amax(-1, keepdim=True)
    of_target = logits.gather(1, words)
    total = logits.exp_().sum(-1, keepdim=True)
    return total.log() - of_target, total


def _wide(x: Tensor) -> Tensor:
    """In float32 or wider: x itself where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _without_gradient(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The same where nothing is differentiated, and no more than these logits are in memory."""
    blocks = _blocks(F.linear(inputs, weight, bias), targets[:, None])
    return torch.cat([_exponentiate(_wide(logits), words)[0] for logits, words in blocks]).squeeze(1)


class _LinearCrossEntropy(torch.autograd.Function):
    """Keeps softmax - onehot, in the precision of the inputs, where plain PyTorch keeps the log-probabilities."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        gradient = F.linear(inputs, weight, bias)
        losses = []
        for logits, words in _blocks(gradient, targets[:, None]):
            numerators = _wide(logits)
            loss, total = _exponentiate(numerators, words)
            losses.append(loss)
            probabilities = numerators.div_(total)
            logits.copy_(probabilities.scatter_add_(1, words, probabilities.new_full(words.shape, -1.0)))
        ctx.save_for_backward(inputs, weight, bias, targets, gradient)
        return torch.cat(losses).squeeze(1)

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs, weight, bias, targets, gradient = ctx.saved_tensors
        needs_inputs, needs_weight, *_ = ctx.needs_input_grad
        scale = of_losses.to(inputs.dtype)
        if torch.is_grad_enabled():  # that is, with create_graph
            return *cast(tuple[Tensor, ...], _Gradients.apply(scale, inputs, weight, bias, targets, gradient)), None
        of_inputs = scale[:, None] * (gradient @ weight) if needs_inputs else None
        of_weight = gradient.t() @ (scale[:, None] * inputs) if needs_weight else None
        of_bias = None if bias is None else scale @ gradient
        return of_inputs, of_weight, of_bias, None


class _Gradients(torch.autograd.Function):
    """The first derivatives, as a function of what they depend on.

    With X the inputs, W the weight, s the scale, P the softmax and G = P - onehot they are s G W, G' (s X) and G' s.
    Their products with cotangents U, Q and r sum to sum_nv s_n G_nv A_nv, where A = U W' + X Q' + r; its derivative in
    the logits, through P, is D = s P (A - sum_v P A).
    """

    @staticmethod
    def forward(
        ctx: Any,
        scale: Tensor,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        gradient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        ctx.save_for_backward(scale, inputs, weight, bias, targets, gradient)
        ctx.set_materialize_grads(False)
        of_bias = None if bias is None else scale @ gradient
        return scale[:, None] * (gradient @ weight), gradient.t() @ (scale[:, None] * inputs), of_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, U: Tensor | None, Q: Tensor | None, r: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale, inputs, weight, bias, targets, gradient = ctx.saved_tensors
        # A = left right' + r, of those cotangents that came.
        left = torch.cat([inputs[:, :0] if U is None else U, inputs[:, :0] if Q is None else inputs], 1)
        right = torch.cat([weight[:, :0] if U is None else weight, weight[:, :0] if Q is None else Q], 1)
        D, of_scale = F.linear(left, right, r), torch.empty_like(scale)
        for a, g, s, of_s, words in _blocks(D, gradient, scale[:, None], of_scale[:, None], targets[:, None]):
            A, G = _wide(a), _wide(g)
            less_target = torch.linalg.vecdot(G, A)[:, None]  # sum_v P A, less A at the target
            of_s.copy_(less_target)
            A -= less_target + A.gather(1, words)
            A *= s
            a.copy_(A.mul_(G.scatter_add(1, words, G.new_ones(less_target.shape))))
        of_inputs, of_weight = D @ weight, D.t() @ inputs
        if U is not None:
            of_weight += gradient.t() @ (scale[:, None] * U)
        if Q is not None:
            of_inputs += scale[:, None] * (gradient @ Q)
        return of_scale, of_inputs, of_weight, None if bias is None else D.sum(0), None, None
