"""Files of a run that outlive a crash: tensors in safetensors, everything else in JSON; never a pickle.

A file is written beside its place, flushed to disk and then moved over the old one, so at every moment a whole file
stands there. Tensors and their state share one file, so they cannot disagree.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FORMAT = 1
"""Version of the files of a run; a file of another version is refused."""


class SavingFailed(OSError):
    """A file of a run could not be written; the one that was there before still is."""


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all."""
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        kept = f"the one saved before it is whole: {path}" if path.exists() else "nothing was saved there before"
        raise SavingFailed(
            error.errno,
            f"{path.name} ({len(content):,} bytes) could not be written: {error.strerror}; {kept}. Make room for it, "
            "then go on with resume=True",
        ) from error


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run; a missing or broken one is an error that says what to do."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not the directory of a run, or not a whole one")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not readable JSON ({error}): it was altered or cut; train the run again"
        ) from error


def _digest(tensors: dict[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Save tensors and a JSON-able state in one file, with a checksum over both."""
    # Copies, since safetensors refuses two names for one memory, as tied weights have.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    said = json.dumps(state)
    metadata = {"format": str(FORMAT), "sha256": _digest(tensors, said), "state": said}
    write_atomically(path, save(tensors, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load what `save_tensors` saved, checked against its checksum."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: nothing was saved there; train the run again")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): it was cut or altered; copy it anew or train again"
        ) from error
    if metadata.get("format") != str(FORMAT):
        raise ValueError(
            f"{path} has format {metadata.get('format', 'unknown')!r}, but this version of pyro_textvae reads format "
            f"'{FORMAT}': open it with the version that wrote it"
        )
    said = metadata.get("state", "")
    if metadata.get("sha256") != _digest(tensors, said):
        raise ValueError(f"{path} was altered since it was saved (its checksum differs): copy it anew or train again")
    return tensors, json.loads(said)
