"""Every module, file and command that the documentation names exists, and the README's example runs."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from alade_brian.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("experiments/**/*.md")]
FOLDERS = "alade_brian|docs|tests|results|experiments|models|conversion"
# Characters; the README is also the package's long description.
README_LENGTH = 9000


def names(text: str) -> Iterator[str]:
    """Dotted names within the package."""
    yield from re.findall(r"(?<![\w./-])alade_brian(?:\.\w+)+", text)


def resolves(name: str) -> bool:
    """Whether a dotted name is a module or an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def missing_paths(text: str, folder: Path) -> list[str]:
    """Files and folders of the repository that a text names, or links to from its own folder, and that do not exist."""
    named = re.findall(rf"(?<![\w./$-])((?:{FOLDERS})/[\w./-]*\w)", text)
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    return sorted({p for p in named if not (ROOT / p).exists()} | {p for p in linked if not (folder / p).exists()})


def missing_commands(text: str) -> list[str]:
    """Sub-commands of the console command, and scripts named alone, that do not exist."""
    known = {getattr(command, "name", command) for command in COMMANDS}
    used = set(re.findall(r"(?:`|^|\$ )alade-brian ([a-z][\w-]*)", text, re.MULTILINE))
    scripts = set(re.findall(r"`(?:python )?(\w+\.py)\b", text)) - {"model.py"}
    return sorted(used - known) + sorted(s for s in scripts if not (ROOT / "experiments" / s).is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in names(text) if not resolves(name)] == []
    assert missing_paths(text, page.parent) == []
    assert missing_commands(text) == []


def command_lines(text: str) -> Iterator[str]:
    """The calls of the console command in a text's blocks and in its running text, without comments."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("alade-brian "):
                yield line.partition(" #")[0]
    yield from re.findall(r"`(alade-brian [a-z-]+ [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_a_page_gives_them(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modules = {command.name: command.module for command in COMMANDS}
    for line in command_lines(page.read_text(encoding="utf-8")):
        _, name, *arguments = shlex.split(line)
        parser = importlib.import_module(f"alade_brian.commands.{modules[name]}").parser()
        try:
            parser.parse_args(arguments)
        except SystemExit as left:
            # What stands in running text may leave out what a command requires, but names no option that it lacks.
            said = capsys.readouterr().err
            assert not left.code or "required" in said, f"{page.name}: {line}: {said}"


def test_a_wrong_reference_is_noticed() -> None:
    assert not resolves("alade_brian.conversion.verify") and not resolves("alade_brian.spec.network.Nothing")
    assert resolves("alade_brian.spec.network.NetworkSpec")
    assert missing_paths("`experiments/nothing.py`, [page](docs/none.md), `models/kernels`", ROOT) == [
        "docs/none.md", "experiments/nothing.py",
    ]  # fmt: skip
    assert missing_commands("`alade-brian fly`, `nothing.py --to x`, `alade-brian run`, `convert.py`") == [
        "fly", "nothing.py",
    ]  # fmt: skip


def test_the_readme_is_short_and_its_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text) < README_LENGTH
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(program, "README.md", "exec"), {"__name__": "page"})
    assert "0 mismatched" in capsys.readouterr().out


def test_the_readme_names_the_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    install = (
        'python -m venv .venv && . .venv/bin/activate && pip install -e ".[test]" && python experiments/run_cil.py'
    )
    assert f"```\n{install}\n```" in text and "```\npython -m pytest\n```" in text
