"""The alignment controller: sequences worked by hand, one for each branch of its rule."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.learning.incremental.alignment import AlignmentController


def run(pairs: list[tuple[float, float]], finetuning: bool = False) -> list[float]:
    """Gamma after each update with (logit of old, logit of new)."""
    controller = AlignmentController(finetuning)
    return [controller.update(old, new) for old, new in pairs]


def gaps(*values: float) -> list[tuple[float, float]]:
    """Logits that stand so far apart, new above old where positive; they themselves drift."""
    return [(k * 0.5, k * 0.5 + gap) for k, gap in enumerate(values)]


@pytest.mark.parametrize("finetuning", [False, True])
def test_gamma_begins_at_zero(finetuning: bool) -> None:
    assert AlignmentController(finetuning).gamma == 0.0


@pytest.mark.parametrize("finetuning", [False, True])
def test_a_first_positive_gap_is_corrected_as_a_whole(finetuning: bool) -> None:
    assert run([(1.0, 3.5)], finetuning) == [2.5]


def test_stage_1_corrects_nothing_before_the_new_stand_above_the_old() -> None:
    assert run(gaps(-2, -1.5, -1.49, -3, -0.5, 1.25)) == [0, 0, 0, 0, 0, 1.25]


def test_stage_2_corrects_a_first_negative_gap() -> None:
    assert run(gaps(-2), finetuning=True) == [-2]


@pytest.mark.parametrize("finetuning", [False, True])
def test_it_waits_while_the_correction_is_closing_the_gap(finetuning: bool) -> None:
    # 2 is corrected; closing by 0.75, then by 0.5, by 0.25: never below a quarter of the largest step.
    assert run(gaps(2, 1.25, 0.75, 0.5), finetuning) == [2, 2, 2, 2]


@pytest.mark.parametrize("finetuning", [False, True])
def test_it_corrects_again_when_the_closing_has_slowed(finetuning: bool) -> None:
    # Steps of 0.75 and 0.125; the second is below 0.75 / 4, and 2 - 1.125 is more than 2 / 8.
    assert run(gaps(2, 1.25, 1.125), finetuning) == [2, 2, 3.125]


@pytest.mark.parametrize("finetuning", [False, True])
def test_slowed_alone_is_not_enough_before_it_has_taken_effect(finetuning: bool) -> None:
    # Steps of 0.125 and 0.0625: 2 - 1.8125 is less than 2 / 8 all the while, though the closing stops.
    assert run(gaps(2, 1.875, 1.8125, 1.8125), finetuning) == [2, 2, 2, 2]


@pytest.mark.parametrize("finetuning", [False, True])
def test_an_eighth_exactly_has_not_taken_effect(finetuning: bool) -> None:
    assert run(gaps(2, 1.75, 1.75), finetuning) == [2, 2, 2]
    assert run(gaps(2, 1.734375, 1.734375), finetuning) == [2, 2, 3.734375]


@pytest.mark.parametrize("finetuning", [False, True])
def test_a_quarter_of_the_largest_step_exactly_has_not_slowed(finetuning: bool) -> None:
    assert run(gaps(2, 1, 0.75), finetuning) == [2, 2, 2]
    assert run(gaps(2, 1, 0.75 + 1 / 64), finetuning) == [2, 2, 2.75 + 1 / 64]


@pytest.mark.parametrize("finetuning", [False, True])
def test_a_turned_sign_is_corrected_at_once(finetuning: bool) -> None:
    assert run(gaps(2, -0.5, 0.25), finetuning) == [2, 1.5, 1.75]


@pytest.mark.parametrize("finetuning", [False, True])
def test_a_correction_forgets_the_steps_before_it(finetuning: bool) -> None:
    # After the turn: gap 1 is corrected, closing by 0.5 and 0.25 (of a largest step that began anew): both wait. With
    # the step of 4 from before the turn, 0.25 would count as slowed.
    assert run(gaps(8, 4, -1, -0.5, -0.25), finetuning) == [8, 8, 7, 7, 7]


@pytest.mark.parametrize("finetuning", [False, True])
def test_negative_gaps_are_corrected_downwards_after_a_turn(finetuning: bool) -> None:
    # After the turn -1 is corrected; it closes by 0.5 (wait), then by 0.0625 (slowed): 0.4375 more.
    assert run(gaps(2, -1, -0.5, -0.4375), finetuning) == [2, 1, 1, 0.5625]


def test_stage_1_lets_a_gap_grow() -> None:
    assert run(gaps(2, 3, 5)) == [2, 2, 2]


def test_stage_2_corrects_the_growth_alone() -> None:
    assert run(gaps(2, 3, 5), finetuning=True) == [2, 3, 5]
    assert run(gaps(-2, -3), finetuning=True) == [-2, -3]


def test_stage_2_measures_growth_from_the_gap_last_corrected() -> None:
    # 2 is corrected and falls to 1.5; 1.75 is more than before, but less than 2; then 2.25 is 0.25 more than 2.
    assert run(gaps(2, 1.9375, 1.96875, 2.25), finetuning=True) == [2, 2, 2, 2.25]


def test_stage_2_growth_moves_the_measure_of_effect() -> None:
    # After the growth to 4, 3.25 has taken effect (4 - 3.25 > 4 / 8) in one step; the next is slower than a quarter.
    assert run(gaps(2, 4, 3.25, 3.1875), finetuning=True) == [2, 4, 4, 7.1875]


@pytest.mark.parametrize("finetuning", [False, True])
def test_no_gap_changes_nothing_and_turns_nothing(finetuning: bool) -> None:
    assert run(gaps(0, 0), finetuning) == [0, 0]
    assert run(gaps(0, 1), finetuning) == [0, 1]
    # Down to nothing in one step, then positive as before: no turn, so that it waits.
    assert run(gaps(2, 0, 0.25), finetuning)[:2] == [2, 2]


@pytest.mark.parametrize("finetuning", [False, True])
def test_only_the_difference_counts(finetuning: bool) -> None:
    values = [2, 1, 0.875, -0.5, -1, 0.25, 0.5]
    shifted = [(old + 64, new + 64) for old, new in gaps(*values)]
    assert run(gaps(*values), finetuning) == run(shifted, finetuning)


def test_it_drives_a_bias_to_zero() -> None:
    # Training answers to gamma by closing 40 % of what is left between the gap and its cause in each epoch.
    controller, cause, gap = AlignmentController(), 3.0, 3.0
    for _ in range(60):
        gamma = controller.update(0.0, gap)
        gap += 0.4 * (cause - gamma - gap)
    assert abs(gap) < 0.3
    assert gamma == pytest.approx(3, abs=0.5)


def literal(pairs: list[tuple[float, float]]) -> list[float]:
    """Stage 1's rule word for word: dir, d, d0, d_prev, M."""
    gamma, last, d0, d_prev, largest, found = 0.0, -1.0, 0.0, 0.0, 0.0, []
    for old, new in pairs:
        d, sign = abs(new - old), float(np.sign(new - old))
        if sign != last or (d0 - d > d0 / 8 and d_prev - d < largest / 4):
            gamma, largest, d0 = gamma + sign * d, 0.0, d
        else:
            largest = max(largest, d_prev - d)
        last, d_prev = sign, d
        found.append(gamma)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_stage_1_follows_the_published_rule_on_random_sequences(seed: int) -> None:
    generator = np.random.default_rng(seed)
    walk = 3 * 0.97 ** np.arange(200) * (1 + generator.normal(0, 0.3, 200)) + generator.normal(0, 0.2, 200)
    pairs = [(float(base), float(base + gap)) for base, gap in zip(generator.normal(5, 1, 200), walk, strict=True)]
    found = run(pairs)
    assert found == pytest.approx(literal(pairs))
    assert len(set(found)) > 10
