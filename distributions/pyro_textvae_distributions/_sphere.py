"""The unit sphere of R^d: its area, and what is said of a vector that should lie on it and does not."""

import math
from typing import Any

import torch
from torch import Tensor


def log_sphere_area(dimension: int) -> float:
    """Log of the surface area of the unit sphere in R^dimension, which is minus the uniform log density.

    >>> round(log_sphere_area(3) - math.log(4 * math.pi), 12)
    0.0
    """
    return math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def refuse_all_but_tensors(name: str, x: Any) -> None:
    """Raise ValueError for what is no tensor."""
    if not isinstance(x, Tensor):
        raise ValueError(
            f"'{name}' is a {type(x).__name__}, but it must be a tensor: make it one with torch.as_tensor({name})"
        )


def refuse_all_but_floats(name: str, x: Any) -> None:
    """Raise ValueError for what is no tensor of floating-point numbers; asks the device for nothing."""
    refuse_all_but_tensors(name, x)
    if not x.is_floating_point():
        raise ValueError(f"'{name}' is a tensor of {x.dtype}, but it must be floating point: take {name}.float()")


def refuse_off_sphere(name: str, x: Tensor) -> None:
    """Raise ValueError for the first vector along the last axis of x (..., D) that has not unit length.

    The tolerance is 10 sqrt(D) roundings of x's dtype, that of `torch.distributions.constraints.sphere`.
    """
    length = torch.linalg.vector_norm(x, dim=-1)
    tolerance = 10 * torch.finfo(x.dtype).eps * x.shape[-1] ** 0.5
    off = ~((length - 1).abs() <= tolerance)
    if not off.any():
        return
    refuse_where(
        ~((length > 0) & length.isfinite()),
        length,
        f"the vector of '{name}' at index {{index}} has length {{value}}, and so no direction: look for what made it",
    )
    again = " (anew, if that was done in float32)" if x.dtype == torch.float64 else ""
    refuse_where(
        off,
        length,
        f"the vector of '{name}' at index {{index}} has length {{value:.10g}}, which is off the unit sphere by "
        f"{{excess:.2g}} (at most {tolerance:.1g} is rounding): divide it by its length, "
        f"torch.nn.functional.normalize({name}, dim=-1){again}",
    )


def check_value(value: Tensor, batch_shape: torch.Size, event_shape: torch.Size) -> None:
    """Raise ValueError for a value that is no batch of unit vectors for a distribution of these shapes."""
    refuse_all_but_floats("value", value)
    try:
        if value.shape[-1:] != event_shape:
            raise RuntimeError
        torch.broadcast_shapes(value.shape[:-1], batch_shape)
    except RuntimeError:
        raise ValueError(
            f"'value' has shape {tuple(value.shape)}, but the distribution has batch shape {tuple(batch_shape)} and "
            f"vectors of {event_shape[0]}: give it as (..., {event_shape[0]}), the rest broadcasting with the batch"
        ) from None
    refuse_off_sphere("value", value)


def refuse_where(wrong: Tensor, values: Tensor, message: str) -> None:
    """Raise ValueError with `message` about the first entry of `values` that is `wrong`; both of one shape.

    The message may speak of {index}, {value} and {excess}, how far the value is from 1.
    """
    if wrong.any():
        index = tuple(wrong.nonzero()[0].tolist())
        value = values[index].item()
        raise ValueError(message.format(index=index, value=value, excess=abs(value - 1)))
