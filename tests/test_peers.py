"""The scripts that train and compare other frameworks' networks: what their exit code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parent.parent / "experiments" / "peers" / "common.py"
# A script that stands beside others, in no package.
DESCRIPTION = importlib.util.spec_from_file_location("peers_common", FILE)
assert DESCRIPTION is not None and DESCRIPTION.loader is not None
common = importlib.util.module_from_spec(DESCRIPTION)
sys.modules[DESCRIPTION.name] = common
DESCRIPTION.loader.exec_module(common)


@pytest.mark.parametrize(("agreements", "code"), [([True, True], 0), ([True, False], 1), ([False, True], 1), ([], 1)])
def test_all_networks_agree_and_there_is_one(
    agreements: list[bool], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict(enumerate(agreements))
    monkeypatch.setattr(sys, "argv", ["peers", "--out", str(tmp_path)])
    monkeypatch.setattr(common, "examine", lambda name, *_: {"agrees": found[int(name)]})
    peers = {str(number): common.Peer(lambda: None, lambda answer: answer) for number in found}  # type: ignore[arg-type,return-value]
    assert common.run(peers, (), "") == code
