"""How far apart two spike trains are: van Rossum and Victor-Purpura distance, train by train or all pairs.

The first form compares two records of the same layer, such as both networks' or one with and without a perturbation:
bool arrays (images, steps, neurons) of one shape give (images, neurons). The second compares all trains of one array
(steps, trains) with each other: the neurons of one image, `spikes[image]`, or one neuron's presentations,
`spikes[:, :, neuron].T`. `dt` is the length of a step in seconds; a distance has no unit and nothing is averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.input import Spikes, Values, blocks, check_positive, check_spikes
from alade_brian.errors import UserError


def van_rossum_distance(first: Spikes, second: Spikes, dt: float, time_constant: float) -> Values:
    """Van Rossum distance of each train of `first` from the same train of `second`: (images, neurons).

    Both trains are smoothed with a causal exponential of `time_constant` seconds (infinite: only counts matter); the
    distance is the root of the integrated squared difference, scaled so that one spike is 1 away from none. Empty
    trains are 0 apart. Raises UserError when the arrays are not bool arrays (images, steps, neurons) of one shape with
    something in them, or `dt` or `time_constant` is not positive. Source: van Rossum 2001, Neural Comput. 13, 751,
    times the square root of 2, as in elephant.spike_train_dissimilarity.
    """
    _check_both(first, second, dt)
    if not time_constant > 0:
        raise UserError(f"The time constant must be a positive number of seconds, not {time_constant}.")
    decay = np.exp(-dt / time_constant)
    images, steps, neurons = first.shape
    distances = np.empty((images, neurons))
    for block in blocks(images, entries_each=neurons):
        squared = np.zeros_like(distances[block])
        memory = np.zeros_like(squared)
        for step in range(steps):
            difference = first[block, step].astype(np.float64) - second[block, step]
            memory *= decay
            # A spike meets itself once, and every earlier one twice.
            squared += difference * (difference + 2 * memory)
            memory += difference
        distances[block] = np.sqrt(np.maximum(squared, 0.0))
    return distances


def van_rossum_matrix(trains: Spikes, dt: float, time_constant: float) -> Values:
    """`van_rossum_distance` of every two trains of a bool array (steps, trains): (trains, trains), diagonal 0.

    Raises UserError as `van_rossum_distance`.
    """
    return van_rossum_distance(*_all_pairs(trains), dt, time_constant)


def victor_purpura_distance(first: Spikes, second: Spikes, dt: float, cost: float) -> Values:
    """Victor-Purpura distance of each train of `first` from the same train of `second`: (images, neurons).

    The least it costs to turn one train into the other, where to add or delete a spike costs 1 and to move it costs
    `cost` (q, in 1/s) per second: 0 compares counts, above 2 / dt only coincident spikes match. Empty trains are 0
    apart. Trains that are equal are passed over; the others take (spikes of first) x (spikes of second) each. Raises
    UserError when the arrays are not bool arrays (images, steps, neurons) of one shape with something in them, `dt` is
    not positive, or `cost` is negative or infinite. Source: Victor and Purpura 1996, J. Neurophysiol. 76, 1310.
    """
    _check_both(first, second, dt)
    if not (np.isfinite(cost) and cost >= 0):
        raise UserError(f"The cost of moving a spike must be a number from 0 up, per second, not {cost}.")
    images, steps, neurons = first.shape
    distances = np.zeros((images, neurons))
    for block in blocks(images, entries_each=steps * neurons):
        one, other = first[block], second[block]
        image, neuron = np.nonzero((one != other).any(axis=1))
        distances[block][image, neuron] = _edit_costs(one[image, :, neuron], other[image, :, neuron], cost * dt)
    return distances


def victor_purpura_matrix(trains: Spikes, dt: float, cost: float) -> Values:
    """`victor_purpura_distance` of every two trains of a bool array (steps, trains): (trains, trains), diagonal 0.

    Raises UserError as `victor_purpura_distance`.
    """
    return victor_purpura_distance(*_all_pairs(trains), dt, cost)


def _edit_costs(one: Spikes, other: Spikes, cost: float) -> Values:
    """Distances of pairs of trains (pairs, steps), with `cost` per step: (pairs,), all pairs moving on together.

    Row i of the usual table holds what it costs to turn the first i spikes of `one` into the first j of `other`. Trains
    are padded to the longest: entry (i, j) never looks at later spikes, so each pair is read off at its own corner.
    """
    times_one, number_one = _padded_times(one)
    times_other, number_other = _padded_times(other)
    column = np.arange(times_other.shape[1] + 1.0)
    row = np.tile(column, (len(one), 1))
    costs = number_other.astype(np.float64)
    for i in range(times_one.shape[1]):
        moved = row[:, :-1] + cost * np.abs(times_one[:, i, None] - times_other)
        row = row + 1
        np.minimum(row[:, 1:], moved, out=row[:, 1:])
        # Adding spikes of `other` one after the other, each for 1.
        row = np.minimum.accumulate(row - column, axis=1) + column
        done = np.flatnonzero(number_one == i + 1)
        costs[done] = row[done, number_other[done]]
    return costs


def _padded_times(trains: Spikes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Steps of the spikes in order, then of others as padding, and the number of spikes: (pairs, most), (pairs,)."""
    number = trains.sum(axis=1, dtype=np.int64)
    order = np.argsort(~trains, axis=1, kind="stable")
    return order[:, : number.max(initial=0)], number


def _all_pairs(trains: Spikes) -> tuple[Spikes, Spikes]:
    """Views (trains, steps, trains) in which entry (i, :, j) is train i, and train j."""
    if trains.ndim != 2:
        raise UserError(f"Trains must be a bool array (steps, trains), not an array of shape {trains.shape}.")
    steps, number = trains.shape
    shape = (number, steps, number)
    return np.broadcast_to(trains.T[:, :, np.newaxis], shape), np.broadcast_to(trains, shape)


def _check_both(first: Spikes, second: Spikes, dt: float) -> None:
    check_spikes(first)
    check_spikes(second)
    if first.shape != second.shape:
        raise UserError(f"Only records of one shape can be compared, not {first.shape} and {second.shape}.")
    check_positive("time step", dt)
