from pathlib import Path
from typing import Any

import pytest
import torch
from small import a_batch
from tiny import assert_identical, train_tiny
from torch import Tensor

from pyro_textvae.loop import Loop
from pyro_textvae.updates import Aggressive, Side

ROSE = [{"valid_mutual_information_in_batch_nats": value} for value in (0.1, 0.5, 0.7)]
FELL = [*ROSE, {"valid_mutual_information_in_batch_nats": 0.6}]


def moves_of(updates: Aggressive, losses: list[float], rows: list[dict[str, float]] = ROSE) -> list[tuple[Any, Side]]:
    """The moves that `updates` takes when the guide's losses are these (and its last ever after)."""
    batch, taken, drawn = a_batch(), [], []

    def move(moved: Any, side: Side) -> tuple[Tensor, Tensor]:
        taken.append((None if moved is batch else [other is moved for other in drawn].index(True), side))
        return torch.tensor(losses[min(len(taken), len(losses)) - 1]), torch.tensor(1.0)

    def another() -> Any:
        drawn.append(a_batch())
        return drawn[-1]

    updates(move, batch, another, rows)
    return taken


def test_the_guide_moves_ahead_until_a_block_is_worse_than_the_one_before():
    # Means of blocks of two: 5, 4, 4.5.
    taken = moves_of(Aggressive(block=2, most=99), [6, 4, 4, 4, 4, 5])
    assert [side for _, side in taken] == ["guide"] * 6 + ["model"]
    assert [batch for batch, _ in taken] == [None, 0, 1, 2, 3, 4, None]


def test_the_guide_moves_at_most_so_often():
    taken = moves_of(Aggressive(block=3, most=7), [9.0 - 0.1 * i for i in range(99)])
    assert [side for _, side in taken] == ["guide"] * 7 + ["model"]


def test_a_loss_that_is_no_number_ends_the_guides_lead():
    assert [side for _, side in moves_of(Aggressive(block=1), [float("nan")])] == ["guide", "model"]


@pytest.mark.parametrize(("rows", "sides"), [([], 2), (ROSE, 2), (FELL, 1), ([*FELL, ROSE[-1]], 1)])
def test_both_move_together_for_good_once_the_mutual_information_has_fallen(rows, sides):
    assert len({side for _, side in moves_of(Aggressive(block=1, most=1), [1.0], rows)}) == sides
    assert Aggressive.active(rows) == (sides == 2)


@pytest.mark.parametrize("wrong", [{"block": 0}, {"most": 0}])
def test_a_lead_of_no_step_is_refused(wrong):
    with pytest.raises(ValueError, match="at least one step"):
        Aggressive(**wrong)


def parameters_of(loop: Loop) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loop.objective.vae.named_parameters()}


def test_a_step_of_one_side_leaves_the_other_to_the_last_bit(tmp_path, monkeypatch):
    changed: list[tuple[Side, set[str]]] = []
    move = Loop._move

    def watched(loop: Loop, batch: Any, side: Side) -> tuple[Tensor, Tensor]:
        before = parameters_of(loop)
        result = move(loop, batch, side)
        after = parameters_of(loop)
        changed.append((side, {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}))
        return result

    monkeypatch.setattr(Loop, "_move", watched)
    train_tiny("lagging_vae", tmp_path, epochs=1, block=2, most=4, warm_up=1)
    own = {"guide": {"encoder", "posterior"}, "model": {"decoder"}}
    assert {side for side, _ in changed} == {"guide", "model"}
    assert all(moved == own[side] for side, moved in changed)


def test_an_aggressive_run_goes_on_exactly_where_it_stopped(tmp_path: Path):
    options: dict[str, Any] = dict(block=2, most=4, dropout=0.2)
    train_tiny("lagging_vae", tmp_path / "whole", epochs=3, **options)
    for epochs in (1, 3):
        train_tiny("lagging_vae", tmp_path / "parts", epochs=epochs, resume=True, **options)
    assert_identical(tmp_path / "whole", tmp_path / "parts")
