"""The output layer and the cross-entropy of its words in one: where most of a training step goes.

Plain PyTorch writes the logits of N tokens and V words, reads them for log-probabilities, and reads and writes them
again for the gradient. On the CPU that traffic costs as much as one of the three matrix products. Here the logits are
made a block of rows at a time and turned into their own gradient while they lie in the cache.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ROWS = 128
"""Tokens whose logits are made at a time: with V = 10,000 words 5 MB in float32. 64 and 256 are slower."""


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
        blocks = zip(inputs.split(ROWS), targets.split(ROWS), strict=True)
        return torch.cat([_without_gradient(rows, weight, bias, words) for rows, words in blocks])


def plain_linear_cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The same by PyTorch's own functions: differentiable as often as one likes, with all logits in memory."""
    logits = F.linear(inputs, weight, bias)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")


def _without_gradient(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The same where nothing is differentiated: it writes no log-probabilities."""
    logits = F.linear(inputs, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.logsumexp(-1) - logits.gather(1, targets[:, None]).squeeze(1)


class _LinearCrossEntropy(torch.autograd.Function):
    """Keeps softmax - onehot, in the precision of the inputs, where plain PyTorch keeps the log-probabilities."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        gradient = inputs.new_empty(len(inputs), len(weight))
        losses = torch.empty(len(inputs), dtype=torch.promote_types(inputs.dtype, torch.float32))
        for first in range(0, len(inputs), ROWS):
            rows = slice(first, first + ROWS)
            words = targets[rows, None]
            logits = F.linear(inputs[rows], weight, bias).to(losses.dtype)
            logits -= logits.amax(-1, keepdim=True)
            of_target = logits.gather(1, words)
            unnormalised = logits.exp_()
            total = unnormalised.sum(-1, keepdim=True)
            losses[rows] = (total.log() - of_target).squeeze(1)
            probabilities = unnormalised.div_(total)
            gradient[rows] = probabilities.scatter_add_(1, words, probabilities.new_full(words.shape, -1.0))
        ctx.save_for_backward(inputs, weight, bias, targets, gradient)
        return losses

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
        D, of_scale = torch.empty_like(gradient), torch.empty_like(scale)
        # A = left right' + r, of those cotangents that came.
        left = torch.cat([inputs[:, :0] if U is None else U, inputs[:, :0] if Q is None else inputs], 1)
        right = torch.cat([weight[:, :0] if U is None else weight, weight[:, :0] if Q is None else Q], 1)
        for first in range(0, len(inputs), ROWS):
            rows = slice(first, first + ROWS)
            G = gradient[rows].to(torch.promote_types(gradient.dtype, torch.float32))
            A = F.linear(left[rows], right, r).to(G.dtype)
            words, onehot = targets[rows, None], G.new_ones(len(G), 1)
            less_target = torch.linalg.vecdot(G, A)  # sum_v P A, less A at the target
            of_scale[rows] = less_target
            A -= less_target[:, None] + A.gather(1, words)
            A *= scale[rows, None]
            D[rows] = A.mul_(G.scatter_add(1, words, onehot))
        of_inputs, of_weight = D @ weight, D.t() @ inputs
        if U is not None:
            of_weight += gradient.t() @ (scale[:, None] * U)
        if Q is not None:
            of_inputs += scale[:, None] * (gradient @ Q)
        return of_scale, of_inputs, of_weight, None if bias is None else D.sum(0), None, None
