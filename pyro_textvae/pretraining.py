"""Pretraining: an encoder that another run has trained, before a decoder drawn anew (Li et al. 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pyro_textvae.run import Run
from pyro_textvae.vae import TextVAE

AUTOENCODER = {"beta": 0.0, "select": "loss"}
"""Options of `beta_vae` that make it the autoencoder to begin with: its loss is minus the reconstruction, and its ELBO
is none."""

HEADS = ("mean", "log_variance")
"""The posterior's linear layers that are taken over: those that say where z lies, and how surely."""


def adopt(vae: TextVAE, source: Run, words: list[str]) -> None:
    """Take over a run's encoder and the heads of its q(z|x); prior, decoder and the rest stay as they were drawn.

    A head is taken where both have it: a von Mises-Fisher posterior has no log variance, a batch-normalised mean no
    bias. Raises ValueError, before anything is changed, if the run has another vocabulary or other sizes.
    """
    if source.vocabulary.words != words:
        raise ValueError(
            f"init_from={str(source.directory)!r} has a vocabulary of {len(source.vocabulary.words)} words, which is "
            f"not that of this corpus ({len(words)} words): pretrain on the same corpus with the same options"
        )
    state = source.vae.state_dict()
    encoder = {name: value for name, value in state.items() if name.startswith("encoder.")}
    heads = _heads(state)
    own, own_heads = dict(vae.encoder.state_dict(prefix="encoder.")), _heads(vae.state_dict())
    # A bias that one of them lacks is no fault, so it is not compared.
    found = encoder | {name: value for name, value in heads.items() if name.endswith("weight") and name in own_heads}
    wanted = own | {name: value for name, value in own_heads.items() if name.endswith("weight") and name in heads}
    differing = [
        f"{name} is {_shape(found, name)} there and {_shape(wanted, name)} here"
        for name in sorted(found.keys() | wanted.keys())
        if _shape(found, name) != _shape(wanted, name)
    ]
    if not encoder or not set(heads) & set(own_heads):
        differing.append(f"{source.name!r} and this recipe have no head of q(z|x) in common")
    if differing:
        raise ValueError(
            f"init_from={str(source.directory)!r} does not fit: {'; '.join(differing)}: pretrain with the same sizes"
        )
    vae.encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in encoder.items()})
    with torch.no_grad():
        for name, parameter in _heads(vae.state_dict(keep_vars=True)).items():
            if name in heads:
                parameter.copy_(heads[name])


def width_of(vae: TextVAE) -> int:
    """How many numbers the posterior's own centre has, which a source has to match; 0 for a model without one."""
    return next((len(value) for name, value in _heads(vae.state_dict()).items() if name == "mean.weight"), 0)


def _heads(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The posterior's heads by their own names; a mixture keeps them one module deeper."""
    return {
        ".".join(path[-2:]): value
        for name, value in state.items()
        if (path := name.split("."))[0] == "posterior" and len(path) >= 3 and path[-2] in HEADS
    }


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(state[name].shape) if name in state else "missing"
