"""How well a network gives values: mean squared error and the share of the targets' variance that it explains."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alade_brian.errors import UserError


def mean_squared_error(outputs: ArrayLike, targets: ArrayLike) -> float:
    """Mean over images and output values of the squared difference, in squared units of the targets.

    `outputs`: (images, values). `targets`: (images, ...), as many values for an image. UserError where they are not,
    there is no image, or an output is not finite.
    """
    found, wanted = _same_shape(outputs, targets)
    return float(np.mean(np.square(found - wanted)))


def r_squared(outputs: ArrayLike, targets: ArrayLike) -> float | None:
    """Coefficient of determination R2: 1 - sum of squared errors / sum of squared deviations of the targets from their
    mean over images, both sums over images and output values.

    1: every value is right; 0: as good as the mean target, whatever the image; negative: worse than that. None where no
    target differs from the mean, as with one image. Shapes and errors as in `mean_squared_error`.

    scikit-learn's ``r2_score(multioutput="variance_weighted")``, except that an error also counts in a value that is
    the same in all targets (a corner of a field, say), where scikit-learn leaves it out.
    """
    found, wanted = _same_shape(outputs, targets)
    # Seen from the first target, so that equal ones have exactly their mean.
    seen = wanted - wanted[0]
    spread = float(np.sum(np.square(seen - seen.mean(0))))
    return 1.0 - float(np.sum(np.square(found - wanted))) / spread if spread else None


def _same_shape(outputs: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found, wanted = np.asarray(outputs, np.float64), np.asarray(targets, np.float64)
    if found.ndim != 2 or wanted.reshape(len(wanted), -1).shape != found.shape or not found.size:
        raise UserError(
            f"Outputs must be (images, values) and targets hold as many, not {found.shape} and {wanted.shape}."
        )
    if not np.isfinite(found).all():
        raise UserError(
            "Some outputs of the network are not finite; lower the learning rate (learning.learning_rate) if its "
            "training diverged."
        )
    return found, wanted.reshape(found.shape)
