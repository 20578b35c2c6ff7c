"""The axes of images: ``(n, *shape)`` if each image is held, ``(n, steps, *shape)`` if there is one input per step."""

from __future__ import annotations

from typing import Any

import numpy as np

from alade_brian.errors import UserError
from alade_brian.spec.errors import Shape
from alade_brian.spec.network import NetworkSpec, Stimulus

_ORDER = "the axis of the images comes first, then that of the steps"
TRANSPOSE = f"{_ORDER}; transpose them: images.swapaxes(0, 1)"
STEPS_LAST = f"{_ORDER}, also where the network itself takes the steps last; move them: np.moveaxis(images, -1, 1)"


def as_array(images: Any) -> np.ndarray:
    """Images as an array; of a tensor, wherever it lies, its numbers."""
    return np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)


def check_axes(spec: NetworkSpec, stimulus: Stimulus, shape: Shape) -> None:
    """Raise a UserError that names every axis if an array of that shape does not fit a stimulus."""
    held = stimulus.coding == "direct"
    expected = stimulus.shape if held else (spec.steps, *stimulus.shape)
    if shape[1:] == expected and shape[0]:
        return
    inner = ", ".join(map(str, stimulus.shape))
    if held:
        raise UserError(
            f"the images have the shape {shape}; this network takes (n, {inner}), n at least 1, and holds each image "
            f"for {spec.steps} steps"
        )
    if shape[:1] == (spec.steps,) and shape[2:] == stimulus.shape and shape[1]:
        raise UserError(f"{described(shape)}, and this network runs for {spec.steps}: {TRANSPOSE}")
    if len(shape) > 2 and shape[0] and shape[1:] == (*stimulus.shape, spec.steps):
        raise UserError(f"the images have the shape {shape}, and this network runs for {spec.steps}: {STEPS_LAST}")
    fits = len(shape) > 1 and shape[2:] == stimulus.shape and all(shape)
    what = described(shape) if fits else f"the images have the shape {shape}"
    raise UserError(f"{what}; this network takes (n, {spec.steps} steps, {inner}), n at least 1")


def sequence_steps(shape: Shape, steps: int | None) -> int:
    """Number of steps of images with one input per step; UserError if another number is required."""
    if len(shape) < 3:
        raise UserError(f"images of the shape {shape} are no sequence: give (n, steps, ...), one input per step")
    if steps is None or steps == shape[1]:
        return shape[1]
    remedy = "give the steps that the images have, or other images"
    remedy = TRANSPOSE if shape[0] == steps else STEPS_LAST if shape[-1] == steps else remedy
    raise UserError(f"{described(shape)}, and steps is {steps}: {remedy}")


def described(shape: Shape) -> str:
    """Describe images with one input per step in words."""
    return f"the images have the shape {shape}, which is {shape[0]} images of {shape[1]} steps"
