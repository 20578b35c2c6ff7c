"""The documentation's examples run, and its table is what the registries say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from alade_brian.conversion.torch_foreign import frameworks
from alade_brian.conversion.torch_support import sections

PAGE = Path(__file__).resolve().parent.parent / "docs" / "convert-your-network.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "package"), [("snnTorch", "snntorch"), ("SpikingJelly", "spikingjelly"), ("Plain torch", "torch")]
)
def test_an_example_runs_as_it_stands(title: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    done = subprocess.run([sys.executable, "-c", EXAMPLES[title]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 mismatched; prediction agreement 1.0000" in done.stdout
    if title == "Plain torch":
        assert {f.name for f in (tmp_path / "runs").iterdir()} == {"model.py", "model.npz", "model.nir"}


def test_the_table_is_what_the_registries_say() -> None:
    for title, text in sections(frameworks()).items():
        assert text in TEXT, f"the section {title} is old; run experiments/support_table.py"
