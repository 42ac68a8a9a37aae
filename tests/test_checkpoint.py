import errno
import json
import os
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import assert_identical, contents, start, train_tiny, train_with_small_files

import pyro_textvae
from pyro_textvae.checkpoint import SavingFailed, load_tensors, read_json, save_tensors, write_atomically, write_json
from pyro_textvae.run import Run

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "scalar": torch.tensor(3.0),
    "whole": torch.tensor([1, 2**40]),
    "state": torch.get_rng_state()[:16],
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "nothing": torch.zeros(0, 3),
}
STATE = {"place": {"step": 3}, "rate": 0.1 + 0.2, "rows": [{"loss": 1 / 3}], "name": "é"}


def test_tensors_and_state_come_back_bit_for_bit(tmp_path):
    save_tensors(tmp_path / "a.safetensors", TENSORS, STATE)
    tensors, state = load_tensors(tmp_path / "a.safetensors")
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype


def test_two_names_for_one_memory_and_views_are_saved(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    given_ = {"a": base, "b": base, "turned": base.T, "column": base[:, 1], "wide": base[:1].expand(5, 4)}
    save_tensors(tmp_path / "a.safetensors", given_, {})
    tensors, _ = load_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in given_.items())


# Altered, cut, foreign, missing.


def test_no_byte_of_a_file_can_be_altered_unnoticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"weight": TENSORS["weight"], "flags": TENSORS["flags"]}, STATE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for flipped in (1, 128):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
            with pytest.raises(ValueError, match=r"a\.safetensors (is not a whole|has format|was altered)"):
                load_tensors(path)


@settings(max_examples=25)
@given(share=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "a.safetensors"
    save_tensors(path, TENSORS, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        ValueError, match=r"is not a whole safetensors file .* cut or altered; copy it anew or train again"
    ):
        load_tensors(path)


def test_a_file_of_another_version_is_refused_by_its_version(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, TENSORS, STATE)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"]["format"] = "7"
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + size :])
    with pytest.raises(ValueError, match="has format '7', but this version of pyro_textvae reads format '1'"):
        load_tensors(path)


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="has format 'unknown'"):
        load_tensors(tmp_path / "theirs.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_tiny("vae", tmp_path_factory.mktemp("runs") / "trained").directory


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of a trained run, to be damaged."""
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_run_with_truncated_weights_is_refused_when_it_is_loaded_and_when_it_is_resumed(copied):
    for name, use in (
        ("best.safetensors", lambda: pyro_textvae.load(copied)),
        ("last.safetensors", lambda: train_tiny("vae", copied, resume=True)),
    ):
        path = copied / name
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=f"{name} is not a whole safetensors file"):
            use()


def test_a_run_with_one_altered_byte_in_its_weights_is_refused(copied):
    path = copied / "best.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"best\.safetensors was altered since it was saved"):
        pyro_textvae.load(copied)


def test_a_run_of_another_format_is_refused_when_it_is_loaded_and_when_it_is_resumed(copied):
    recipe = read_json(copied / "recipe.json")
    write_json(copied / "recipe.json", recipe | {"format": 99})
    for use in (lambda: pyro_textvae.load(copied), lambda: train_tiny("vae", copied, resume=True)):
        with pytest.raises(ValueError, match=r"was written in format 99, .* reads format 1: open it with the version"):
            use()


@pytest.mark.parametrize("options", [dict(hidden=8), dict(seed=1), dict(data=["a b", "b c d", "d", "e a"] * 9)])
def test_weights_of_another_run_are_refused_also_where_they_would_fit(copied, tmp_path_factory, options):
    other = train_tiny("vae", tmp_path_factory.mktemp("other"), **options).directory
    for name in ("best.safetensors", "last.safetensors"):
        (copied / name).write_bytes((other / name).read_bytes())
    for use in (lambda: pyro_textvae.load(copied), lambda: train_tiny("vae", copied, resume=True)):
        with pytest.raises(ValueError, match=r"was not saved by the run that recipe.json and corpus.json beside it"):
            use()


def test_weights_that_a_changed_recipe_no_longer_takes_are_refused(copied, monkeypatch):
    import pyro_textvae.run as module

    build = module.build
    monkeypatch.setattr(
        module, "build", lambda recipe, v, size, options: build(recipe, v, size | {"layers": 2}, options)
    )
    with pytest.raises(ValueError, match="does not fit what 'vae' builds: the recipe was changed since"):
        pyro_textvae.load(copied)


@pytest.mark.parametrize("name", ["best.safetensors", "vocabulary.json", "corpus.json", "recipe.json"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        pyro_textvae.load(copied)


@pytest.mark.parametrize("name", ["corpus.json", "recipe.json"])
def test_a_settings_file_that_was_cut_is_named(copied, name):
    (copied / name).write_text('{"recipe": "va')
    with pytest.raises(ValueError, match=f"{name} is not readable JSON .*altered or cut"):
        pyro_textvae.load(copied)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"is not the directory of a run: it has no recipe\.json"):
            pyro_textvae.load(path)


# A full disk.


def fail(number: int):
    def failing(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_was_there_survives_a_failed_writing_and_the_message_says_so(tmp_path, monkeypatch, call, number):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail(number))
        with pytest.raises(
            SavingFailed, match=r"could not be written: .*; the one saved before it is whole: .*a.json"
        ) as e:
            write_json(path, {"new": 2})
        with pytest.raises(SavingFailed, match="nothing was saved there before"):
            write_atomically(tmp_path / "b", b"content")
    assert e.value.errno == number and os.strerror(number) in str(e.value)
    assert read_json(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]  # nothing half written takes up room


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_disk_that_is_full_at_any_file_leaves_the_last_good_checkpoint_from_which_training_goes_on(
    tmp_path, monkeypatch, failing
):
    """At the end of an epoch metrics, best and last are written, in this order: each may be the one that fails."""
    train_tiny("vae", tmp_path / "whole", epochs=3)
    train_tiny("vae", tmp_path / "full", epochs=1)
    before, fsync, count = contents(tmp_path / "full"), os.fsync, 0

    def filling(file):
        nonlocal count
        count += 1
        if count > failing:  # recipe.json with its new number of epochs comes first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        with pytest.raises(SavingFailed, match="No space left on device; the one saved before it is whole"):
            train_tiny("vae", tmp_path / "full", epochs=3, resume=True)
    after = contents(tmp_path / "full")
    assert after["last.safetensors state"] == before["last.safetensors state"]
    assert pyro_textvae.load(tmp_path / "full").sample(2)
    train_tiny("vae", tmp_path / "full", epochs=3, resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "full")


def test_a_process_whose_files_may_not_grow_keeps_its_last_good_checkpoint(tmp_path):
    said = tmp_path / "said"
    process = start(train_with_small_files, tmp_path / "run", 20_000, said)
    process.join(60)
    assert "last.safetensors" in said.read_text() or "best.safetensors" in said.read_text()
    assert "SavingFailed" in said.read_text() and "the one saved before it is whole" in said.read_text()
    assert Run(tmp_path / "run").vae is not None
    assert not list((tmp_path / "run").glob("*.part"))
    train_tiny("vae", tmp_path / "run", epochs=3, resume=True)
    train_tiny("vae", tmp_path / "whole", epochs=3)
    assert_identical(tmp_path / "whole", tmp_path / "run")


def test_no_pickle_lies_in_a_run(trained):
    for path in trained.iterdir():
        start_ = path.read_bytes()[:2]
        assert path.suffix in (".json", ".jsonl", ".safetensors")
        assert start_ != b"PK" and start_[:1] != b"\x80"
