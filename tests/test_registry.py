"""The registry: what is registered is found, what is not is named with the nearest, and nothing is replaced."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.lowerings import LOWERINGS, lowers
from alade_brian.conversion.lowering import AffineInput, SpecBuilder, scale
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.conversion.support_table import torch_rows
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, SumOverSteps
from alade_brian.registry import Registry


def test_entries_keep_their_order_and_are_returned_unchanged() -> None:
    registry: Registry[str, object] = Registry("tool", {"saw": 1})

    @registry.register("hammer", "mallet")
    class Hammer:
        pass

    assert isinstance(Hammer, type) and list(registry) == ["saw", "hammer", "mallet"] and len(registry) == 3
    assert registry["hammer"] is registry.find("mallet") is Hammer
    registry.remove("hammer")
    assert "hammer" not in registry and "mallet" in registry


def test_a_second_entry_of_a_name_is_refused_and_changes_nothing() -> None:
    registry: Registry[str, int] = Registry("tool", {"saw": 1})
    for names in (("saw",), ("drill", "saw"), ("drill", "drill")):
        with pytest.raises(ValueError, match="registered twice"):
            registry.register(*names)(2)
    assert dict(registry) == {"saw": 1}
    with pytest.raises(ValueError, match="needs a name"):
        registry.register()


def test_readers_cannot_change_it() -> None:
    registry: Registry[str, int] = Registry("tool", {"saw": 1})
    with pytest.raises(TypeError):
        registry["saw"] = 2  # type: ignore[index]


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    registry: Registry[str, int] = Registry("tool", {"hammer": 1, "saw": 2})
    with pytest.raises(UserError, match=r"^unknown tool 'hamer' \(did you mean 'hammer'\?\); use one of hammer, saw$"):
        registry.find("hamer")
    with pytest.raises(UserError, match="^unknown tool 'zzz'; use one of hammer, saw$"):
        registry.find("zzz")


def test_a_class_is_found_through_its_bases_nearest_first() -> None:
    registry: Registry[type, str] = Registry("class", {Exception: "any", ValueError: "value"})
    assert registry.for_class(UnicodeError) == "value" and registry.for_class(KeyError) == "any"
    assert registry.for_class(int) is None


def test_a_layer_is_registered_refused_and_documented_by_one_line() -> None:
    class Doubling(nn.Module):
        def __init__(self, mode: str = "plain") -> None:
            super().__init__()
            self.mode = mode

        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    def net(mode: str) -> nn.Module:
        return nn.Sequential(Doubling(mode), HoldCurrent(2), LIF(2), SumOverSteps(2))

    try:

        @lowers(Doubling, limits={"mode": "plain"}, condition="of anything")
        def lower_doubling(lowering: SpecBuilder, name: str, module: Doubling, value: AffineInput) -> AffineInput:
            return scale(lowering, value, np.asarray(2.0))

        spec = convert(net("plain"), (3,))
        assert np.all(spec.projections[0].operator.gain == 2)  # type: ignore[union-attr]
        with pytest.raises(RefusedLayers, match="mode = fancy has no exact lowering; use 'plain'"):
            convert(net("fancy"), (3,))
        row = next(row for row in torch_rows() if row[0].endswith(".Doubling"))
        assert row[2] == "mode 'plain'; of anything"
    finally:
        LOWERINGS.remove(Doubling)
    assert not any(row[0].endswith(".Doubling") for row in torch_rows())
