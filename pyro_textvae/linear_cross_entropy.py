"""The output layer and the cross-entropy of its words in one: where most of a training step goes.

Plain PyTorch writes the logits of N tokens and V words, reads them for log-probabilities, and reads and writes them
again for the gradient. On the CPU that traffic costs as much as one of the three matrix products. Here the logits are
made a block of rows at a time and turned into their own gradient while they lie in the cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS = 128
"""Tokens whose logits are made at a time: with V = 10,000 words 5 MB in float32. 64 and 256 are slower."""


def linear_cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """-log softmax(inputs weight' + bias) at the targets: (N, H), (V, H), (V,) and (N,) to (N,) nats, float32 or wider.

    On the CPU its gradient cannot be differentiated again (RuntimeError), nor seen by torch.func:
    `plain_linear_cross_entropy` can. Elsewhere it is that.
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
        return torch.cat([plain_linear_cross_entropy(rows, weight, bias, words) for rows, words in blocks])


def plain_linear_cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The same by PyTorch's own functions: differentiable as often as one likes, with all logits in memory."""
    logits = F.linear(inputs, weight, bias)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")


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
        ctx.save_for_backward(inputs, weight, gradient)
        ctx.has_bias = bias is not None
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # that is, with create_graph: what is kept would pass for a constant
            raise RuntimeError(
                "linear_cross_entropy cannot be differentiated twice: take plain_linear_cross_entropy for create_graph"
            )
        inputs, weight, gradient = ctx.saved_tensors
        needs_inputs, needs_weight, *_ = ctx.needs_input_grad
        scale = of_losses.to(inputs.dtype)
        of_inputs = scale[:, None] * (gradient @ weight) if needs_inputs else None
        of_weight = gradient.t() @ (scale[:, None] * inputs) if needs_weight else None
        of_bias = scale @ gradient if ctx.has_bias else None
        return of_inputs, of_weight, of_bias, None
