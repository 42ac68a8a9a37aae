import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_textvae.schedules import END, Cyclic, Linear, Schedule, Sigmoid, weight_at

SCHEDULES = st.one_of(
    st.builds(Linear, steps=st.integers(1, 5000), start=st.floats(0, 1)),
    st.builds(Sigmoid, middle=st.integers(0, 5000), slope=st.floats(1e-4, 1)),
    st.builds(Cyclic, period=st.integers(1, 5000), rising=st.floats(0.01, 1)),
)


@given(SCHEDULES, st.integers(0, 10**9))
def test_every_schedule_stays_between_zero_and_one(schedule, step):
    assert 0 <= schedule(step) <= 1


@given(SCHEDULES)
def test_every_schedule_ends_at_one(schedule):
    assert schedule(END) == 1


@given(SCHEDULES, st.integers(0, 10**6), st.floats(0, 10))
def test_a_number_times_a_schedule_is_a_schedule(schedule, step, factor):
    for scaled in (factor * schedule, schedule * factor):
        assert isinstance(scaled, Schedule)
        assert scaled(step) == pytest.approx(factor * schedule(step))


@given(st.one_of(st.builds(Linear, steps=st.integers(1, 500)), st.builds(Sigmoid, middle=st.integers(0, 500))))
def test_a_warm_up_never_falls(schedule):
    weights = [schedule(step) for step in range(0, 1000, 7)]
    assert weights == sorted(weights)


def test_linear_rises_evenly_from_its_start():
    assert [Linear(4, start=0.2)(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_sigmoid_is_the_logistic_function_and_does_not_overflow():
    assert Sigmoid(middle=2500)(3500) == pytest.approx(1 / (1 + 2.718281828459045**-2.5))
    assert Sigmoid(middle=2500, slope=1000.0)(0) == pytest.approx(0)


def test_a_cycle_rises_for_its_share_and_starts_anew():
    schedule = Cyclic(period=10, rising=0.4)
    assert [schedule(step) for step in range(10)] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1])
    assert [schedule(step + 30) for step in range(10)] == [schedule(step) for step in range(10)]


def test_a_weight_is_a_number_or_any_function_of_the_step():
    assert weight_at(0.3, 7) == 0.3
    assert weight_at(lambda step: step / 10, 7) == 0.7


@pytest.mark.parametrize("make", [lambda: Linear(0), lambda: Cyclic(0), lambda: Cyclic(5, 0), lambda: Cyclic(5, 1.5)])
def test_a_schedule_that_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match=r"at least one update|at least 1 and the rising share"):
        make()


def test_a_schedule_without_a_rule_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"Schedule must say .* define __call__\(self, step\)"):
        Schedule()(0)
