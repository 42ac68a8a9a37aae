import itertools
import json
import os
import random
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from pyro.infer.util import is_validation_enabled
from tiny import (
    assert_identical,
    contents,
    some_texts,
    start,
    train_tiny,
    train_until_interrupted,
    train_until_killed,
)

from pyro_textvae import loop
from pyro_textvae.batch import Batches
from pyro_textvae.checkpoint import load_tensors, save_tensors
from pyro_textvae.corpus import Corpus
from pyro_textvae.decay import DECAYS, zhu2020
from pyro_textvae.objective import Objective, TextELBO
from pyro_textvae.recipes import Recipe, compose, recipes
from pyro_textvae.run import Run, best_of
from pyro_textvae.schedules import Linear
from pyro_textvae.size import Size
from pyro_textvae.terms import KL, BetaELBO, Reconstruction
from pyro_textvae.training import Diverged, Training, train

# Killed and resumed.

KILLED = {
    "vae with dropout": ("vae", dict(dropout=0.3, word_dropout=0.2)),
    "bn_vae, sgd, one length": ("bn_vae", dict(optimizer="sgd", batching="exact", decay="shi2020", epochs=3)),
    "dem_vae, warm-up, random batches": (
        "dem_vae",
        dict(warm_up=9, dropout=0.2, components=3, variables=2, batching="random"),
    ),
    "cyclic_vae, bfloat16": ("cyclic_vae", dict(period=5, precision="bfloat16", patience=5, decay="cosine_restarts")),
}


@pytest.mark.parametrize(("model", "options"), KILLED.values(), ids=KILLED.keys())
def test_a_process_killed_again_and_again_while_it_saves_ends_as_one_never_killed(tmp_path, model, options):
    train_tiny(model, tmp_path / "whole", **options)
    dice = random.Random(model)
    for life in range(100):
        renaming = dice.randint(1, 9) if life else 2  # the first dies before there is a recipe.json
        process = start(train_until_killed, model, tmp_path / "killed", options, renaming, dice.random() < 0.5)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    else:
        pytest.fail("it never ended")
    assert life > 2
    assert_identical(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("model", ["vae", "bn_vae"])
def test_a_process_killed_at_any_moment_ends_as_one_never_killed(tmp_path, model):
    options = dict(dropout=0.2, epochs=6)
    train_tiny(model, tmp_path / "whole", **options)
    dice, killed = random.Random(model), 0
    for _ in range(4):
        process = start(train_until_killed, model, tmp_path / "killed", options)
        process.join(dice.uniform(0.1, 0.6))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    last = start(train_until_killed, model, tmp_path / "killed", options)
    last.join(60)
    assert last.exitcode == 0 and killed
    assert_identical(tmp_path / "whole", tmp_path / "killed")


def test_ctrl_c_saves_and_the_same_call_with_resume_goes_on(tmp_path):
    said = tmp_path / "said"
    process = start(train_until_interrupted, tmp_path / "run", said)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "best.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert "stopped and saved: go on with resume=True and output=" in said.read_text()
    step = load_tensors(tmp_path / "run" / "last.safetensors")[1]["place"]["step"]
    epochs = len(Run(tmp_path / "run").history) + 2
    run = train_tiny("vae", tmp_path / "run", epochs=epochs, resume=True)
    assert run.history[-1]["step"] > step
    train_tiny("vae", tmp_path / "whole", epochs=epochs)
    assert_identical(tmp_path / "whole", tmp_path / "run")


def interrupt_at(monkeypatch: pytest.MonkeyPatch, call: int, where: object, name: str) -> None:
    """Ctrl-C comes at the given call of a function."""
    original, count = getattr(where, name), 0

    def interrupted(*args, **kwargs):
        nonlocal count
        count += 1
        if count == call:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(where, name, interrupted)


@pytest.mark.parametrize("call", [1, 4, 7, 11, 12])
def test_ctrl_c_at_any_step_loses_nothing(tmp_path, monkeypatch, call):
    train_tiny("vae", tmp_path / "whole", dropout=0.2)
    with monkeypatch.context() as patch:
        interrupt_at(patch, call, loop.Loop, "_note")
        with pytest.raises(KeyboardInterrupt, match="resume=True"):
            train_tiny("vae", tmp_path / "stopped", dropout=0.2)
    assert load_tensors(tmp_path / "stopped" / "last.safetensors")[1]["place"]["step"] == call
    train_tiny("vae", tmp_path / "stopped", dropout=0.2, resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("epoch", [1, 2])
def test_ctrl_c_during_a_validation_is_heard_after_it_also_in_the_last_epoch(tmp_path, monkeypatch, epoch):
    train_tiny("vae", tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch, loop, "evaluate")
        with pytest.raises(KeyboardInterrupt, match="stopped and saved"):
            train_tiny("vae", tmp_path / "stopped")
    assert len(Run(tmp_path / "stopped").history) == epoch
    train_tiny("vae", tmp_path / "stopped", resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "stopped")


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def impatient(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "evaluate", impatient)
    with pytest.raises(KeyboardInterrupt, match="at once"):
        train_tiny("vae", tmp_path / "run")


def test_training_leaves_the_callers_signals_random_numbers_threads_and_validation_as_they_were(tmp_path):
    def mine(number, frame): ...

    before = signal.signal(signal.SIGINT, mine)
    try:
        torch.set_num_threads(2)
        torch.manual_seed(5)
        state = torch.get_rng_state()
        for checked in (True, False):
            with pyro.validation_enabled(checked):
                run = train_tiny("dem_vae", tmp_path / str(checked))
                assert run.vae is not None
                assert torch.distributions.Distribution._validate_args is checked
                assert is_validation_enabled() is checked
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == 2
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)
        torch.set_num_threads(1)


# Resuming.


def test_a_finished_run_with_more_epochs_goes_on_as_if_it_had_been_asked_at_first(tmp_path):
    train_tiny("bn_vae", tmp_path / "whole", epochs=4, dropout=0.2)
    train_tiny("bn_vae", tmp_path / "more", epochs=2, dropout=0.2)
    train_tiny("bn_vae", tmp_path / "more", epochs=4, dropout=0.2, resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "more")
    assert Run(tmp_path / "more").recipe["training"]["epochs"] == 4


def test_resuming_a_finished_run_changes_no_file(tmp_path):
    first = train_tiny("vae", tmp_path)
    first.evaluate("valid")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    run = train_tiny("vae", tmp_path, resume=True)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    assert run.metrics == first.metrics and run.metrics


def test_which_sentences_share_a_batch_is_asked_for(tmp_path, monkeypatch):
    seen: list[list[int]] = []
    move = loop.Loop._move
    monkeypatch.setattr(
        loop.Loop,
        "_move",
        lambda self, batch, side: seen.append(batch.lengths.tolist()) or move(self, batch, side),
    )
    texts = [" ".join(["w"] * (1 + number % 16)) for number in range(320)]
    lengths, means = {}, {}
    for batching in ("bucketed", "paired", "random"):
        train_tiny("vae", tmp_path / batching, texts, epochs=1, batch_size=16, batching=batching)
        lengths[batching] = [len(set(each)) for each in seen]
        means[batching] = np.std([np.mean(each) for each in seen])
        seen.clear()
    assert max(lengths["bucketed"]) <= 3 and min(lengths["random"][:-1]) >= 5
    assert means["paired"] < means["random"] < means["bucketed"]


def test_to_resume_where_nothing_is_left_to_do_says_so(tmp_path, capsys):
    again = partial(train_tiny, "vae", tmp_path / "run", resume=True, progress=True, finish=True)
    again(epochs=1)
    assert "holds no training to go on with: it begins now" in capsys.readouterr().out
    again(epochs=1)
    assert "is finished (epochs: 1): to go on with it, give more epochs" in capsys.readouterr().out
    again(epochs=2)
    assert "to go on with" not in capsys.readouterr().out
    falling = partial(train_tiny, "vae", tmp_path / "falling", epochs=1, decay="linear", finish=True)
    falling()
    falling(resume=True, progress=True)
    assert "begin a new run with other settings" in capsys.readouterr().out


def test_what_was_measured_goes_when_training_goes_on(tmp_path):
    train_tiny("vae", tmp_path).evaluate("valid")
    assert train_tiny("vae", tmp_path, epochs=3, resume=True).metrics == {}


def test_a_run_that_stopped_early_stays_stopped_and_more_epochs_change_nothing(tmp_path):
    options = dict(epochs=60, patience=2, learning_rate=0.05)
    stopped = len(train_tiny("vae", tmp_path, **options).history)
    assert 3 <= stopped < 60
    before = contents(tmp_path)["history"]
    train_tiny("vae", tmp_path, resume=True, **options)
    train_tiny("vae", tmp_path, resume=True, **options | dict(epochs=90))
    assert contents(tmp_path)["history"] == before


def test_a_rule_that_goes_back_to_the_best_weights_with_a_fresh_optimiser_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setitem(DECAYS, "zhu2020", partial(zhu2020, patience=1, first_epoch=1))
    options = dict(decay="zhu2020", epochs=12, learning_rate=0.03)
    whole = train_tiny("vae", tmp_path / "whole", **options)
    rates = [row["learning_rate"] for row in whole.history]
    assert rates[-1] < rates[0]
    for epochs in (*range(2, 12, 3), 12):
        train_tiny("vae", tmp_path / "parts", resume=True, **options | dict(epochs=epochs))
    assert_identical(tmp_path / "whole", tmp_path / "parts")


def test_after_going_back_training_stands_on_the_best_weights_with_an_empty_optimiser(tmp_path, monkeypatch):
    monkeypatch.setitem(DECAYS, "zhu2020", partial(zhu2020, patience=1, first_epoch=1, decays=1))
    run = train_tiny("vae", tmp_path, decay="zhu2020", epochs=60, learning_rate=0.03)
    assert len(run.history) < 60
    best, _ = load_tensors(tmp_path / "best.safetensors")
    last, state = load_tensors(tmp_path / "last.safetensors")
    assert all(torch.equal(value, last[f"vae.{name}"]) for name, value in best.items())
    assert not [name for name in last if name.startswith("optimizer.")]
    assert state["learning_rate"] == 0.015


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(tmp_path):
    train_tiny("vae", tmp_path / "whole")
    train_tiny("vae", tmp_path / "run", epochs=1)
    (tmp_path / "run" / "last.safetensors").unlink()
    train_tiny("vae", tmp_path / "run", resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "run")


def test_a_run_resumed_with_other_settings_or_another_corpus_is_refused_by_what_differs(tmp_path):
    train_tiny("bn_vae", tmp_path)
    for changed, message in (
        (dict(gamma=0.5), r"options gamma: 0\.7 then, 0\.5 now"),
        (dict(latent=3), "size latent: 4 then, 3 now"),
        (dict(batch_size=8), "training batch_size: 16 then, 8 now"),
        (dict(seed=3), "seed: 0 then, 3 now"),
        (dict(data=some_texts(seed=1)), "the corpus"),
    ):
        with pytest.raises(ValueError, match=f"cannot be resumed, its settings differ.*{message}"):
            train_tiny("bn_vae", tmp_path, resume=True, **changed)
    with pytest.raises(ValueError, match="recipe: 'bn_vae' then, 'vae' now"):
        train_tiny("vae", tmp_path, resume=True)


def test_a_linear_decay_cannot_go_on_with_more_epochs_since_its_rates_would_have_been_others(tmp_path):
    run = train_tiny("vae", tmp_path, decay="linear", learning_rate=0.01)
    assert [row["learning_rate"] for row in run.history] == [0.01, 0.005]
    with pytest.raises(ValueError, match="training epochs: 2 then, 3 now"):
        train_tiny("vae", tmp_path, decay="linear", learning_rate=0.01, epochs=3, resume=True)


# Determinism.


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    train_tiny("dem_vae", tmp_path / "a", seed=1)
    torch.rand(7)  # global random numbers do not enter
    train_tiny("dem_vae", tmp_path / "b", seed=1)
    train_tiny("dem_vae", tmp_path / "c", seed=2)
    assert_identical(tmp_path / "a", tmp_path / "b")
    assert contents(tmp_path / "a")["history"] != contents(tmp_path / "c")["history"]


def test_batches_do_not_depend_on_global_random_numbers():
    split = Corpus.open(some_texts()).splits["train"]

    def order(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return [batch.index.tolist() for batch in Batches(split, 16, seed=3, epoch=2)]

    assert order(0) == order(1)


# What is optimised, chosen and stopped.


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_is_that_of_torch_with_clipped_gradients(tmp_path, optimizer):
    options = dict(optimizer=optimizer, batch_size=1000, epochs=1, clip=0.05, weight_decay=0.1, learning_rate=0.5)
    train_tiny("ae", tmp_path, **options)
    trained, _ = load_tensors(tmp_path / "best.safetensors")

    corpus = Corpus.open(some_texts())
    torch.manual_seed(0)
    made = recipes()["ae"](Size(len(corpus.vocabulary), hidden=16, embedding=8, latent=4))
    objective = Objective(made.vae, made.objective)
    (batch,) = Batches(corpus.splits["train"], 1000)
    by_hand = {
        "adamw": partial(torch.optim.AdamW, foreach=False, fused=False),
        "sgd": partial(torch.optim.SGD, foreach=False, fused=False),
    }[optimizer](objective.parameters(), lr=0.5, weight_decay=0.1)
    objective(batch, 0).backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in objective.parameters() if p.grad is not None))  # pyright: ignore
    assert norm > 0.05
    for parameter in objective.parameters():
        if parameter.grad is not None:
            parameter.grad *= 0.05 / norm
    by_hand.step()
    for name, value in made.vae.state_dict().items():
        assert torch.allclose(trained[name], value, rtol=1e-3, atol=1e-5), name


def test_the_default_rates_are_those_of_the_optimisers(tmp_path):
    assert train_tiny("vae", tmp_path / "a", epochs=1).history[0]["learning_rate"] == 2e-3
    assert train_tiny("vae", tmp_path / "b", epochs=1, optimizer="sgd").history[0]["learning_rate"] == 1.0


def test_the_best_checkpoint_has_the_lowest_validation_loss_and_is_what_a_run_uses(tmp_path):
    run = train_tiny("vae", tmp_path, epochs=25, learning_rate=0.05)
    losses = [row["valid_loss"] for row in run.history]
    best, state = load_tensors(tmp_path / "best.safetensors")
    last, _ = load_tensors(tmp_path / "last.safetensors")
    assert losses.index(min(losses)) < len(losses) - 1
    assert state["epoch"] == losses.index(min(losses)) + 1
    assert all(torch.equal(value, best[name]) for name, value in run.vae.state_dict().items())
    assert any(not torch.equal(value, last[f"vae.{name}"]) for name, value in best.items())
    whole = train_tiny("vae", tmp_path / "short", epochs=state["epoch"], learning_rate=0.05)
    assert all(torch.equal(value, best[name]) for name, value in whole.vae.state_dict().items())


def test_the_best_epoch_may_be_chosen_by_the_elbo(tmp_path):
    run = train_tiny("beta_vae", tmp_path, epochs=25, learning_rate=0.05, beta=0.01, select="elbo")
    elbos = [row["valid_nll_elbo_nats_per_sentence"] for row in run.history]
    losses = [row["valid_loss"] for row in run.history]
    assert load_tensors(tmp_path / "best.safetensors")[1]["epoch"] == elbos.index(min(elbos)) + 1
    assert elbos.index(min(elbos)) != losses.index(min(losses))


def test_patience_stops_after_that_many_epochs_without_a_better_loss(tmp_path):
    run = train_tiny("vae", tmp_path, epochs=80, patience=3, learning_rate=0.05)
    losses = [row["valid_loss"] for row in run.history]
    assert len(losses) < 80 and losses.index(min(losses)) == len(losses) - 4


def test_patience_waits_for_the_end_of_the_warm_up(tmp_path, monkeypatch):
    """During the warm-up the KL grows unpunished, so the loss at full weight rises, and falls only after it."""
    losses = iter([50.0, 60.0, 70.0, 80.0, 75.0, 60.0, 45.0, 44.0, 45.0, 46.0, 47.0, 1.0])
    monkeypatch.setattr(loop.Loop, "_validate", lambda self: {"loss": next(losses)})
    updates = len(Batches(Corpus.open(some_texts()).splits["train"], 16))
    run = train_tiny("annealed_vae", tmp_path, epochs=12, patience=3, warm_up=4 * updates)
    assert [row["valid_loss"] for row in run.history][-3:] == [45.0, 46.0, 47.0]  # counted from the 44, not the 50


def test_patience_counts_from_the_end_of_the_warm_up_even_if_nothing_gets_better(tmp_path, monkeypatch):
    losses = iter([50.0] + [60.0] * 20)
    monkeypatch.setattr(loop.Loop, "_validate", lambda self: {"loss": next(losses)})
    updates = len(Batches(Corpus.open(some_texts()).splits["train"], 16))
    run = train_tiny("annealed_vae", tmp_path, epochs=20, patience=3, warm_up=4 * updates, shape="sigmoid")
    assert len(run.history) == 4 + 3


@pytest.mark.parametrize("epochs", [(10,), (2, 4, 7, 10)], ids=["at once", "in parts"])
def test_the_best_epoch_is_chosen_among_those_after_the_warm_up(tmp_path, monkeypatch, epochs):
    """The loss at full weight is lowest in the first epoch, whose weights another objective made."""
    losses = iter([50.0, 60.0, 55.0, 80.0, 75.0, 70.0, 61.0, 62.0, 63.0, 64.0])
    monkeypatch.setattr(loop.Loop, "_validate", lambda self: {"loss": next(losses)})
    updates = len(Batches(Corpus.open(some_texts()).splits["train"], 16))
    chosen = []
    for planned in epochs:
        run = train_tiny("annealed_vae", tmp_path, epochs=planned, warm_up=4 * updates, resume=planned > epochs[0])
        chosen.append(load_tensors(tmp_path / "best.safetensors")[1]["epoch"])
        assert run.best["epoch"] == chosen[-1]
    assert chosen == ([7] if len(epochs) == 1 else [1, 4, 7, 7])  # of the first two parts only one reaches its end
    assert [row["schedules_ended"] for row in run.history] == [False] * 3 + [True] * 7


def test_a_cycle_counts_from_where_it_first_rose_to_the_end(tmp_path):
    updates = len(Batches(Corpus.open(some_texts()).splits["train"], 16))
    run = train_tiny("cyclic_vae", tmp_path, epochs=4, period=3 * updates)
    assert [row["schedules_ended"] for row in run.history] == [False, True, True, True]


def test_a_training_shorter_than_its_schedule_says_so_before_it_begins(tmp_path, capfd):
    train_tiny("annealed_vae", tmp_path / "short", epochs=1, warm_up=7, progress=True)
    assert "do not reach their final values in the 6 updates that are planned" in "".join(capfd.readouterr())
    train_tiny("annealed_vae", tmp_path / "long", epochs=2, warm_up=7, progress=True)
    assert "final values" not in "".join(capfd.readouterr())


def test_the_rows_of_an_older_version_were_all_chosen_from_and_still_are():
    old = [{"epoch": n, "valid_loss": loss} for n, loss in ((1, 5.0), (2, 7.0))]
    late = {"epoch": 3, "schedules_ended": True, "valid_loss": 6.0}
    assert best_of([*old, late], "loss")["epoch"] == 1
    assert best_of([*old, late | {"valid_loss": 4.0}], "loss")["epoch"] == 3


def test_the_validation_loss_has_every_schedule_at_its_end(tmp_path):
    row = train_tiny("annealed_vae", tmp_path, epochs=1, warm_up=10_000).history[0]
    nll = row["valid_reconstruction_nats_per_sentence"] + row["valid_kl_z_nats_per_sentence"]
    assert row["valid_loss"] == pytest.approx(nll, rel=0.05)
    assert row["train_loss"] == pytest.approx(row["train_reconstruction"], rel=0.01)
    assert row["train_elbo"] == pytest.approx(-row["train_reconstruction"] - row["train_kl_z"], rel=1e-5)


def test_a_row_of_the_history_has_the_documented_keys(tmp_path):
    run = train_tiny("dem_vae", tmp_path)
    assert [row["epoch"] for row in run.history] == [1, 2]
    batches = len(Batches(Corpus.open(some_texts()).splits["train"], 16))
    assert [row["step"] for row in run.history] == [batches, 2 * batches]
    row = run.history[0]
    first = ["epoch", "step", "seconds", "tokens_per_second", "learning_rate", "schedules_ended", "cpu_seconds"]
    assert list(row)[:7] == first
    trained = {"reconstruction", "kl_z", "kl_c", "elbo", "loss", "dispersion"}
    assert {f"train_{name}" for name in trained} <= row.keys()
    measured = {"loss", "nll_elbo_nats_per_sentence", "kl_z_nats_per_sentence", "active_units"}
    assert {f"valid_{name}" for name in measured} <= row.keys()
    assert all(name.startswith(("train_", "valid_")) for name in list(row)[7:])
    assert row["seconds"] > 0 and row["tokens_per_second"] > 0


def test_cpu_time_is_summed_over_an_epochs_updates_also_when_it_is_interrupted(tmp_path, monkeypatch):
    """The clock gains 3 seconds with every look, so an update takes 3, whatever else the machine does."""
    looks = itertools.count(step=3)
    monkeypatch.setattr(loop.time, "process_time", lambda: float(next(looks)))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 9, loop.Loop, "_note")
        with pytest.raises(KeyboardInterrupt):
            train_tiny("vae", tmp_path)
    time_so_far = load_tensors(tmp_path / "last.safetensors")[1]["place"]["cpu_seconds"]
    assert time_so_far == 3 * 3.0  # of the second epoch
    run = train_tiny("vae", tmp_path, resume=True)
    updates = run.history[0]["step"]
    assert [row["cpu_seconds"] for row in run.history] == [3.0 * updates, 3.0 * updates]


def test_an_epoch_begun_by_a_version_without_cpu_time_has_none(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, loop.Loop, "_note")
        with pytest.raises(KeyboardInterrupt):
            train_tiny("vae", tmp_path)
    tensors, state = load_tensors(tmp_path / "last.safetensors")
    del state["place"]["cpu_seconds"]
    save_tensors(tmp_path / "last.safetensors", tensors, state)
    run = train_tiny("vae", tmp_path, resume=True)
    assert ["cpu_seconds" in row for row in run.history] == [False, True]


def test_the_mean_of_an_epoch_is_over_sentences_not_batches(tmp_path):
    run = train_tiny(
        "ae", tmp_path, epochs=1, learning_rate=1e-12, batch_size=20
    )  # 96 sentences: the last batch has 16
    one = train_tiny("ae", tmp_path / "one", epochs=1, learning_rate=1e-12, batch_size=1000)
    assert run.history[0]["train_loss"] == pytest.approx(one.history[0]["train_loss"], rel=1e-5)


def test_bfloat16_trains_and_stays_close_to_float32(tmp_path):
    texts = some_texts(400)
    full = train_tiny("dem_vae", tmp_path / "full", texts, epochs=4, learning_rate=5e-3)
    half = train_tiny("dem_vae", tmp_path / "half", texts, epochs=4, learning_rate=5e-3, precision="bfloat16")
    losses = [row["valid_loss"] for row in half.history]
    assert losses[-1] < losses[0] - 0.5
    assert losses[-1] == pytest.approx(full.history[-1]["valid_loss"], rel=0.02)
    assert losses != [row["valid_loss"] for row in full.history]
    assert all(value.dtype == torch.float32 for value in half.vae.parameters())


# What is said.


def test_without_progress_nothing_is_said(tmp_path, capfd):
    train_tiny("bn_vae", tmp_path, batching="exact")
    assert capfd.readouterr() == ("", "")


def test_with_progress_it_says_how_the_text_was_read_and_split_and_a_line_an_epoch(tmp_path, capfd):
    train_tiny("vae", tmp_path, progress=True)
    said = "".join(capfd.readouterr())
    assert "96 train, 12 valid, 12 test" in said and "unknown" in said
    assert "epoch   1" in said and "nll" in said and "kl_z" in said


def test_sentences_that_batch_normalisation_leaves_out_are_counted_aloud(tmp_path, capfd):
    texts = [" ".join(["a", "b", "c"] * n) for n in range(1, 4)] * 10 + [" ".join(["d"] * 50)] * 2
    train_tiny("bn_vae", tmp_path, texts, progress=True, batching="exact", seed=3)
    said = "".join(capfd.readouterr())
    assert "1 sentences an epoch are left out" in said


# Numbers that are none.


def test_a_learning_rate_without_measure_stops_with_the_term_the_step_and_the_last_good_checkpoint(tmp_path):
    with pytest.raises(
        Diverged, match=r"at step 1 \(epoch 1\): .*kl_z.* is not finite; the last good.*last.safeten"
    ) as e:
        train_tiny("vae", tmp_path, learning_rate=1e30, checkpoint_seconds=0.0)
    assert "learning rate of 1e+30" in str(e.value) and "elbo" not in str(e.value)
    tensors, state = load_tensors(tmp_path / "last.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())
    assert state["place"]["step"] == 1


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("rate", [1e20, 1e30, 1e38])
def test_no_learning_rate_gets_numbers_that_are_none_onto_the_disk(tmp_path, rate, optimizer):
    with pytest.raises(Diverged, match="begin a new run with a tenth"):
        train_tiny("vae", tmp_path, learning_rate=rate, optimizer=optimizer, checkpoint_seconds=0.0, epochs=3)
    for path in tmp_path.glob("*.safetensors"):
        tensors, _ = load_tensors(path)
        assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())


def poisoned(monkeypatch: pytest.MonkeyPatch, step: int, poison) -> None:
    """Before the given step, something happens to the objective."""
    forward = Objective.forward

    def changed(self, batch, at):
        if at == step:
            poison(self)
        return forward(self, batch, at)

    monkeypatch.setattr(Objective, "forward", changed)


def test_poisoned_weights_stop_training_at_that_step_and_the_checkpoint_before_it_is_whole(tmp_path, monkeypatch):
    def poison(objective):
        objective.vae.decoder.output.weight.data[3, 0] = float("nan")

    poisoned(monkeypatch, 8, poison)
    with pytest.raises(
        Diverged, match=r"at step 8 \(epoch 2\): reconstruction is not finite; the last good checkpoint"
    ):
        train_tiny("vae", tmp_path, epochs=3)
    tensors, state = load_tensors(tmp_path / "last.safetensors")
    assert state["place"] == {
        "epoch": 1,
        "batch": 0,
        "step": 6,
        "seconds": 0.0,
        "cpu_seconds": 0.0,
        "tokens": 0,
        "sentences": 0,
    }
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())


def test_a_gradient_that_is_no_number_stops_though_the_loss_was_one(tmp_path, monkeypatch):
    def poison(objective):
        objective.vae.encoder.embedding.weight.register_hook(lambda gradient: gradient * float("nan"))

    poisoned(monkeypatch, 2, poison)
    with pytest.raises(Diverged, match=r"at step 2 .*the gradient is not finite; .*last.safetensors"):
        train_tiny("vae", tmp_path, checkpoint_seconds=0.0)
    tensors, state = load_tensors(tmp_path / "last.safetensors")
    assert state["place"]["step"] == 2
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())


def test_a_validation_that_is_no_number_stops_before_it_counts_as_best(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Loop, "_validate", lambda self: {"loss": float("nan"), "kl": 1.0})
    with pytest.raises(Diverged, match="the validation's loss is not finite; no checkpoint was saved yet"):
        train_tiny("vae", tmp_path)
    assert not (tmp_path / "best.safetensors").exists()


# Small and odd corpora.


@pytest.fixture(scope="module")
def thousand() -> list[str]:
    return some_texts(1000)


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_trains_on_a_thousand_sentences_with_its_defaults(name, thousand, tmp_path):
    run = train(name, thousand, output=tmp_path, epochs=1, finish=False, progress=False)
    assert len(run.history) == 1
    assert run.sample(2)


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_trains_on_four_sentences(name, tmp_path):
    known = recipes().options(name)
    few = next(({option: 2} for option in ("components", "classes") if option in known), {})  # no more than sentences
    run = train_tiny(name, tmp_path, ["a b", "b c", "a c b", "c"], epochs=1, **few)
    assert run.evaluate("valid")["reconstruction_nats_per_sentence"] > 0


def test_texts_with_labels_and_a_recipe_of_ones_own_train(tmp_path, monkeypatch):
    def mine(size, weight: float = 0.5) -> Recipe:
        """My own."""
        return compose(size, objective=TextELBO(Reconstruction(), KL(weight=weight * Linear(10))))

    monkeypatch.setitem(recipes()._known, "mine", mine)
    texts = some_texts()
    run = train_tiny("mine", tmp_path, (texts, [text.split()[0] for text in texts]), weight=0.3)
    assert run.recipe["options"] == {"weight": 0.3}
    monkeypatch.delitem(recipes()._known, "mine")
    with pytest.raises(ValueError, match=r"a run of the recipe 'mine', which is not known here.*import the file"):
        _ = Run(tmp_path).vae


def test_weights_that_two_modules_share_are_saved_and_resumed(tmp_path, monkeypatch):
    def twin(size) -> Recipe:
        """Encoder and decoder share their embedding."""
        made = compose(size, objective=BetaELBO())
        made.vae.encoder.embedding = made.vae.decoder.embedding
        return made

    monkeypatch.setitem(recipes()._known, "twin", twin)
    train_tiny("twin", tmp_path / "whole", epochs=3)
    train_tiny("twin", tmp_path / "parts", epochs=1)
    run = train_tiny("twin", tmp_path / "parts", epochs=3, resume=True)
    assert_identical(tmp_path / "whole", tmp_path / "parts")
    parameters = dict(run.vae.named_parameters(remove_duplicate=False))
    assert parameters["encoder.embedding.weight"] is parameters["decoder.embedding.weight"]


def test_without_an_output_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = some_texts()
    names = [train("vae", texts, epochs=1, hidden=8, finish=False, progress=False).directory for _ in range(3)]
    assert names == [Path("runs/vae-texts"), Path("runs/vae-texts-2"), Path("runs/vae-texts-3")]


def test_settings_are_written_down_with_versions(tmp_path):
    run = train_tiny("bn_vae", tmp_path, gamma=0.5, seed=4)
    assert run.recipe["options"] == {"gamma": 0.5} and run.recipe["seed"] == 4
    assert run.recipe["versions"].keys() == {"torch", "pyro-ppl", "numpy", "python"}
    assert Training(**run.recipe["training"]) == Training(epochs=2, batch_size=16)
    assert json.loads((tmp_path / "corpus.json").read_text())["splits"] == {"train": 96, "valid": 12, "test": 12}


# Where CUDA exists.


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["vae", "bn_vae", "dem_vae", "vmf_vae"])
def test_training_on_cuda_learns_and_its_run_opens_on_the_cpu(name, tmp_path):
    run = train_tiny(name, tmp_path, some_texts(500), device="cuda", epochs=4, dropout=0.2)
    losses = [row["valid_loss"] for row in run.history]
    assert losses[-1] < losses[0]
    assert next(run.vae.parameters()).device.type == "cpu"
    train_tiny(name, tmp_path, some_texts(500), device="cuda", epochs=5, dropout=0.2, resume=True)
    train_tiny(name, tmp_path, some_texts(500), device="cpu", epochs=6, dropout=0.2, resume=True)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["vae", "bn_vae", "dem_vae", "vmf_vae"])
def test_no_step_of_training_waits_for_cuda(name, tmp_path, monkeypatch):
    forward, note = Objective.forward, loop.Loop._note

    def watched(self, batch, step):
        if step > 2 and self.training:  # the first ones set up kernels
            torch.cuda.set_sync_debug_mode("error")
        return forward(self, batch, step)

    def noted(self, *args):
        note(self, *args)
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Objective, "forward", watched)
    monkeypatch.setattr(loop.Loop, "_note", noted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the mode is a prototype
        train_tiny(name, tmp_path, device="cuda", epochs=1)
