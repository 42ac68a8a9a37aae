"""One optimiser over all parameters, for `pyro.infer.SVI`."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")
"""Of a training step: as the weights are, or under autocast, with densities, KLs and softmax in float32."""

WITHOUT_EFFECT = ("threads", "checkpoint_seconds", "watch")
"""Options of training that change no number of a run."""


class JointOptim(PyroOptim):
    """A torch optimiser that moves every parameter in one step, for `pyro.infer.SVI`.

    Pyro's own optimisers hold one torch optimiser for each parameter: nothing is fused, `clip_norm` clips each
    parameter by itself, and gradients are filled with zeros instead of dropped; on a small text VAE that is a tenth of
    a step. Here the gradients are dropped, and `clip` bounds their joint norm.

        SVI(vae.model, vae.guide, JointOptim(torch.optim.AdamW, {"lr": 1e-3, "fused": True}, clip=5.0), TextELBO(...))

    Its state is that of the torch optimiser, parameters in the order of their names; it is loaded at the first step.
    """

    def __init__(
        self, optimizer: type[torch.optim.Optimizer], arguments: dict[str, Any], clip: float | None = None
    ) -> None:
        super().__init__(optimizer, arguments)
        self.make: Callable[[list[Tensor]], torch.optim.Optimizer] = partial(optimizer, **arguments)
        self.clip = clip
        self.optimizer: torch.optim.Optimizer | None = None
        self._loaded: dict[str, Any] | None = None

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        params = list(params)
        if self.optimizer is None:
            store = pyro.get_param_store()
            params.sort(key=lambda parameter: str(store.param_name(parameter)))
            self.optimizer = self.make(params)
            if self._loaded is not None:
                self.optimizer.load_state_dict(self._loaded)
        known = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        new = [parameter for parameter in params if parameter not in known]
        if new:
            self.optimizer.add_param_group({"params": new})
        if self.clip is not None:
            nn.utils.clip_grad_norm_(params, self.clip)
        self.optimizer.step(*args, **kwargs)
        self.optimizer.zero_grad(set_to_none=True)

    def get_state(self) -> dict[str, Any]:
        return {} if self.optimizer is None else self.optimizer.state_dict()

    def set_state(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state_dict)
