"""Synapses that fail at random. Whether a spike passes a synapse is a function of their numbers, not of a random
stream: it is the same on every backend and for every distribution of images, and can be counted afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alade_brian.spec.errors import require

# Tickets are whole numbers below this.
TICKETS = 2**31


@dataclass(frozen=True)
class Release:
    """Probability with which a spike passes a synapse, independently for every spike and synapse.

    ticket   the stimulus, of one pixel and shown in every step, that numbers the draws of an image and step: whole
             numbers from 0 to below 2^31
    """

    probability: float
    ticket: str

    def __post_init__(self) -> None:
        require(0 <= self.probability <= 1, f"a release probability of {self.probability}: use 0 to 1")


def chance(ticket: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """A number from 0 to below 1, uniform and independent for every triple: ticket, neuron index at both ends.

    Three rounds of MurmurHash3's finaliser (Appleby, public domain), which mixes 32 bits.
    """
    return draw(ticket, synapse_number(pre, post))


def synapse_number(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """Identifier of a synapse for `draw`, uint32."""
    with np.errstate(over="ignore"):
        return _mixed(pre, _mixed(post, np.uint32(0)))


def draw(ticket: np.ndarray, synapse: np.ndarray) -> np.ndarray:
    """Evaluate `chance` for synapses given by their `synapse_number`."""
    with np.errstate(over="ignore"):
        return _mixed(ticket, synapse) / 2.0**32


def _mixed(value: np.ndarray, seed: np.ndarray | np.uint32) -> np.ndarray:
    h = np.asarray(value).astype(np.uint32) * np.uint32(0x9E3779B1) + seed
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return np.asarray(h ^ (h >> np.uint32(16)))


# The same for Brian2's C++.
CHANCE_CPP = """
static inline uint32_t _mixed(uint32_t value, uint32_t seed) {
    uint32_t h = value * 0x9E3779B1u + seed;
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}
static inline double chance(double ticket, int pre, int post) {
    return _mixed((uint32_t)ticket, _mixed((uint32_t)pre, _mixed((uint32_t)post, 0u))) / 4294967296.0;
}
"""
