"""LwF: without memory, the network is held to its own old answers on the new images.

Li and Hoiem, ECCV 2016 and TPAMI 2018 (arXiv 1606.09282).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.base import require_two_classes
from alade_brian.learning.incremental.methods.distilling import Distilling


class Lwf(Distilling):
    """``L = CE(new columns) + weight KD(old columns)``, with weight 1 and temperature 2 in the source.

    As in the source, new classes are told from each other alone. The source knows at test time which task an image
    belongs to; here, as in class-incremental learning, the decision is the largest logit of all. Ours also leaves out
    the source's warm-up, in which the new rows are trained alone before the whole network is.
    """

    name = "lwf"
    new_only: ClassVar[bool] = True

    def check(self, sizes: Sequence[int]) -> None:
        increment = self.config.increment
        if len(sizes) > 1 and increment < 2:
            raise UserError(
                f"increment is {increment}, but the method 'lwf' distinguishes only the new classes of one "
                "task; use at least 2"
            )
        require_two_classes(self.config, sizes)
