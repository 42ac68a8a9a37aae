from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import assert_identical, some_texts, train_tiny
from torch import Tensor

from pyro_textvae.loop import Loop
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run


def begun(output: Path, model: str, monkeypatch, **options: Any) -> dict[str, Tensor]:
    """The weights that a run begins with."""
    found: dict[str, Tensor] = {}
    with monkeypatch.context() as patch:
        original = Loop.run

        def watched(loop: Any) -> None:
            if loop.directory == output:
                found.update({name: value.clone() for name, value in loop.objective.vae.state_dict().items()})
            original(loop)

        patch.setattr(Loop, "run", watched)
        train_tiny(model, output, epochs=1, **options)
    return found


@pytest.mark.parametrize(
    ("model", "heads"),
    [
        ("vae", {"mean.weight", "mean.bias", "log_variance.weight", "log_variance.bias"}),
        ("bn_vae", {"mean.weight", "log_variance.weight", "log_variance.bias"}),
        ("dem_vae", {"mean.weight", "mean.bias", "log_variance.weight", "log_variance.bias"}),
        ("ae", {"mean.weight", "mean.bias"}),
    ],
)
def test_a_run_from_an_autoencoder_begins_with_its_encoder_and_heads_and_a_fresh_decoder(
    tmp_path, monkeypatch, model, heads
):
    options = {"variables": 2, "components": 3} if model == "dem_vae" else {}
    here = begun(tmp_path / "here", model, monkeypatch, init_from="ae", **options)
    fresh = begun(tmp_path / "fresh", model, monkeypatch, **options)
    source = Run(tmp_path / "here" / "ae").vae.state_dict()
    deeper = "z_posterior." if model == "dem_vae" else ""
    same = {f"posterior.{deeper}{name}": f"posterior.{name}" for name in heads}
    same |= {name: name for name in source if name.startswith("encoder.")}
    for name, value in here.items():
        assert torch.equal(value, source[same[name]] if name in same else fresh[name]), name


def test_the_autoencoder_is_a_run_of_its_own_trained_with_the_same_settings(tmp_path):
    run = train_tiny("bn_vae", tmp_path, init_from="ae", epochs=2, dropout=0.1)
    first = Run(tmp_path / "ae")
    assert first.name == "beta_vae" and first.recipe["options"] == {"beta": 0.0}
    assert first.recipe["training"] == run.recipe["training"]
    assert first.recipe["size"] == run.recipe["size"] | {"cell": "gru"}
    assert len(first.history) == len(run.history) == 2
    assert run.recipe["init_from"] == "ae"


def test_either_stage_can_be_resumed(tmp_path, monkeypatch):
    train_tiny("vae", tmp_path / "whole", init_from="ae", epochs=2)
    saved = Loop._end_of_epoch
    count = 0

    def dies_sometimes(loop: Any) -> None:
        nonlocal count
        saved(loop)
        count += 1
        if count in (1, 3):  # in the first stage, in the second
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_end_of_epoch", dies_sometimes)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_tiny("vae", tmp_path / "parts", init_from="ae", epochs=2, resume=True)
    train_tiny("vae", tmp_path / "parts", init_from="ae", epochs=2, resume=True)
    assert count == 4
    assert_identical(tmp_path / "whole", tmp_path / "parts")
    assert_identical(tmp_path / "whole" / "ae", tmp_path / "parts" / "ae")


def test_the_encoder_of_any_run_can_be_taken_again(tmp_path):
    train_tiny("ae", tmp_path / "ae")
    run = train_tiny("vae", tmp_path / "vae", init_from=tmp_path / "ae")
    assert run.recipe["init_from"] == str(Path("..") / "ae")
    assert [stage.directory.resolve() for stage in run.stages] == [tmp_path / "ae", tmp_path / "vae"]
    with pytest.raises(ValueError, match="cannot be resumed, its settings differ: init_from"):
        train_tiny("vae", tmp_path / "vae", resume=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(hidden=24), r"encoder\.forwards\.weight_hh_l0 is \(48, 16\) there and \(72, 24\) here"),
        (dict(latent=5), r"mean\.weight is \(4, 16\) there and \(5, 16\) here"),
        (dict(bidirectional=True), r"encoder\.backwards\.\w+ is missing there"),
        (dict(data=[*some_texts(140, seed=3), "quite another word"]), "which is not that of this corpus"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_training(tmp_path, changed, message):
    train_tiny("vae", tmp_path / "source", epochs=1)
    with pytest.raises(ValueError, match=message):
        train_tiny("vae", tmp_path / "run", init_from=tmp_path / "source", **changed)
    assert not (tmp_path / "run").exists()


def test_what_has_no_encoder_takes_none(tmp_path):
    with pytest.raises(ValueError, match="'lstm_lm' has no encoder to begin with"):
        train_tiny("lstm_lm", tmp_path / "run", init_from="ae")
    with pytest.raises(ValueError, match="init_from is 'nowhere', which is no run"):
        train_tiny("vae", tmp_path / "run", init_from="nowhere")
    assert not (tmp_path / "run").exists()


def test_a_run_without_an_encoder_is_none_to_begin_with(tmp_path):
    train_tiny("lstm_lm", tmp_path / "lm", epochs=1)
    with pytest.raises(ValueError, match="does not fit"):
        train_tiny("vae", tmp_path / "run", init_from=tmp_path / "lm")


@pytest.mark.parametrize("name", sorted(recipes().of_bags))
def test_a_model_of_bags_does_not_begin_with_an_autoencoder_of_sentences_but_with_another_run_of_bags(tmp_path, name):
    with pytest.raises(ValueError, match=f"reads words in their order, and '{name}' a bag of them: leave it out, or"):
        train_tiny(name, tmp_path / "run", init_from="ae")
    source = train_tiny(name, tmp_path / "source", epochs=1)
    run = train_tiny(name, tmp_path / "next", init_from=tmp_path / "source", epochs=1)
    assert len(run.stages) == 2 and run.stages[0].directory.resolve() == source.directory.resolve()


@pytest.mark.parametrize(
    "name", [name for name in recipes() if not name.endswith("_lm") and name not in recipes().of_bags]
)
def test_every_recipe_of_sentences_with_a_code_can_begin_with_an_autoencoder(tmp_path, name):
    inner = {option: 1 for option in ("steps", "most") if option in recipes().options(name)}
    run = train_tiny(name, tmp_path, some_texts(40), epochs=1, init_from="ae", **inner)
    assert len(run.history) == len(Run(tmp_path / "ae").history) == 1
