"""The rules of two papers against sequences worked out by hand (bn_vae: Zhu et al. 2020; dem_vae: Shi et al. 2020)."""

from itertools import accumulate

import pytest

from pyro_textvae.decay import DECAYS, Decision, cosine_restarts, kim2018, linear, none, shi2020, xu2018, zhu2020


def decisions(rule, losses: list[float]) -> list[Decision]:
    """What the rule says after each epoch."""
    return [rule(losses[: epoch + 1]) for epoch in range(len(losses))]


def reloads(rule, losses: list[float]) -> list[int]:
    return [epoch for epoch, decision in enumerate(decisions(rule, losses)) if decision.reload_best]


def test_a_constant_rate_never_falls_and_never_stops():
    assert decisions(none, [3.0, 4.0, 5.0]) == [Decision()] * 3


def test_a_linear_decay_steps_down_to_an_equal_share_in_the_last_epoch_whatever_the_losses():
    factors = [linear([5.0] * epoch, 4).rate_factor for epoch in range(5)]
    assert factors == [1, 0.75, 0.5, 0.25, 0]  # the last stands after the last epoch


def test_a_cosine_falls_inside_each_cycle_and_begins_anew_whatever_the_losses_and_the_plan():
    factors = [cosine_restarts([5.0] * epoch, epochs).rate_factor for epochs in (1, 40) for epoch in range(30)]
    one = [1, 0.975528, 0.904508, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472]
    assert factors == pytest.approx(one * 6, abs=1e-6)
    assert [cosine_restarts([5.0] * epoch, 9, period=2).rate_factor for epoch in range(4)] == pytest.approx(
        [1, 0.5] * 2
    )
    assert cosine_restarts([5.0] * 3, 9, period=1) == Decision()
    assert not any(decision.stop or decision.reload_best for decision in decisions(cosine_restarts, [5.0] * 30))


@pytest.mark.parametrize("period", [0, -3])
def test_a_cycle_of_no_epochs_is_refused(period):
    with pytest.raises(ValueError, match=f"'period' is {period}, but a cycle lasts at least one epoch"):
        cosine_restarts([1.0], 5, period)


@pytest.mark.parametrize("rule", DECAYS.values(), ids=DECAYS.keys())
def test_before_the_first_epoch_no_rule_decides_anything(rule):
    assert rule([], 5) == Decision()


def test_zhu2020_halves_after_five_epochs_in_a_row_above_the_reference():
    losses = [100.0 - epoch for epoch in range(14)] + [88.0] * 6  # epochs 14 to 19 are above the 87 of epoch 13
    said = decisions(zhu2020, losses)
    assert said[17] == Decision()
    assert said[18] == Decision(rate_factor=0.5, reload_best=True)
    assert said[19] == Decision(rate_factor=0.5)  # 88 does not exceed the new reference, 88


def test_zhu2020_counts_before_epoch_15_but_halves_there_at_the_earliest_and_stops_at_the_fifth_halving():
    losses = [1.0 + epoch for epoch in range(40)]
    assert reloads(zhu2020, losses) == [15, 20, 25, 30, 35]
    said = decisions(zhu2020, losses)
    assert [said[epoch].rate_factor for epoch in (14, 15, 20, 25, 30, 35)] == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert not said[34].stop and said[35].stop


def test_zhu2020_measures_against_the_last_loss_that_did_not_exceed_the_reference_not_against_the_best():
    # Halved at 15 with reference 60, though the best was 10: a 59 is no rise and starts the count anew.
    losses = [10.0] + [50.0] * 14 + [60.0] + [61.0] * 4 + [59.0] + [60.0] * 4 + [59.0] + [60.0] * 5
    assert reloads(zhu2020, losses) == [15, 30]


def test_shi2020_takes_eight_tenths_from_the_third_record_since_the_best_on():
    losses = [5.0, 4.0, 3.0, 3.1, 3.2, 3.3, 2.9, 3.0, 3.0]
    factors = [decision.rate_factor for decision in decisions(shi2020, losses)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.8, 0.64, 0.64, 0.64, 0.512])


def test_shi2020_does_not_punish_a_loss_that_equals_the_best():
    assert shi2020([3.0, 3.0, 3.0, 3.0, 3.0]).rate_factor == 1
    assert shi2020([3.0, 3.0, 3.0, 3.0, 3.1]).rate_factor == 0.8


def test_shi2020_begins_with_a_patience_of_ten_epochs():
    assert [decision.stop for decision in decisions(shi2020, [3.0] * 10)] == [False] * 9 + [True]


def test_shi2020_doubles_the_epochs_when_the_loss_falls_under_0996_of_the_last_that_did():
    losses = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 4.9] + [4.95] * 10  # patience 14 after epoch 7
    stops = [epoch for epoch, decision in enumerate(decisions(shi2020, losses), start=1) if decision.stop]
    assert stops[0] == 14


def test_shi2020_gets_no_patience_from_a_fall_of_less_than_four_thousandths():
    losses = [5.0 * (1 - 0.0004 * epoch) for epoch in range(10)]  # in all 0.36 %
    assert shi2020(losses).stop and not shi2020(losses[:9]).stop
    falling = [5.0 * (1 - 0.0005 * epoch) for epoch in range(10)]  # the ninth is 0.4 % under the first, not below it
    assert not shi2020([*falling[:9], 4.9]).stop


def test_shi2020_stops_when_the_rate_is_a_thousandth():
    falls = list(accumulate([0.99] * 40, lambda a, b: a * b, initial=100.0))  # patience 82 by then
    rises = [200.0] * 33
    said = decisions(shi2020, falls + rises)
    first = next(epoch for epoch, decision in enumerate(said) if decision.stop)
    assert said[first].rate_factor == pytest.approx(0.8**31)  # the first power of 0.8 below 0.001
    assert first == len(falls) + 1 + 30


def test_kim2018_halves_every_epoch_from_the_first_late_one_without_progress_on():
    falling, losses = [20.0 - epoch for epoch in range(16)], [5.0, 4.5, 4.0]
    said = decisions(kim2018, falling + losses)
    assert [decision.rate_factor for decision in said] == [1.0] * 16 + [0.5, 0.25, 0.125]
    assert not any(decision.stop for decision in said)


def test_kim2018_forgives_what_came_before_the_sixteenth_epoch():
    assert kim2018([1.0] * 15).rate_factor == 1 and kim2018([1.0] * 16).rate_factor == 0.5


def test_kim2018_stops_under_three_hundredths():
    stops = [decision.stop for decision in decisions(kim2018, [1.0] * 22)]
    assert stops == [False] * 20 + [True] * 2  # the sixth halving, to 1/64


def test_xu2018_divides_after_every_epoch_without_a_new_best_and_gives_nothing_back():
    said = decisions(xu2018, [5.0, 6.0, 5.0, 4.0, 4.5, 3.0])
    expected = [1, 1 / 1.2, 1 / 1.2**2, 1 / 1.2**2, 1 / 1.2**3, 1 / 1.2**3]  # to equal the best is no new best
    assert [decision.rate_factor for decision in said] == pytest.approx(expected)
    assert not any(decision.stop or decision.reload_best for decision in said)


def test_xu2018_stops_after_fifteen_epochs_in_a_row_without_a_new_best():
    losses = [5.0] + [6.0] * 14 + [4.0] + [4.5] * 15
    stops = [epoch for epoch, decision in enumerate(decisions(xu2018, losses), start=1) if decision.stop]
    assert stops == [len(losses)]


def test_xu2018_nvdm_divides_by_less_and_is_else_the_same():
    losses = [5.0, 4.0, 4.0, 4.5, 3.0, 3.5]
    factors = [decision.rate_factor for decision in decisions(DECAYS["xu2018_nvdm"], losses)]
    assert factors == pytest.approx([1, 1, 1 / 1.1, 1 / 1.1**2, 1 / 1.1**2, 1 / 1.1**3])
    stops = [decision.stop for decision in decisions(DECAYS["xu2018_nvdm"], [3.0, *[4.0] * 15])]
    assert stops == [False] * 15 + [True]
