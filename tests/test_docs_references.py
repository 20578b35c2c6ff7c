"""Every module, file and command that the documentation names exists, and the README's example runs."""

from __future__ import annotations

import argparse
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from alade_brian.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("experiments/**/*.md")]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A command, by its name or by the script that is the same.
CALL = r"(?:alade-brian [a-z]|python[\d.]* experiments/\w+\.py)"
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


@each_page
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in names(text) if not resolves(name)] == []
    assert missing_paths(text, page.parent) == []
    assert missing_commands(text) == []


def command_lines(text: str) -> Iterator[tuple[str, bool]]:
    """The calls of commands in a text, without comments, and whether each is whole: a block's must be complete, while
    running text may leave out what a command requires."""
    for block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from ((call, True) for call in line.partition(" #")[0].split(" && ") if re.match(CALL, call))
    yield from ((call, False) for call in re.findall(rf"`({CALL}[^`]*)`", FENCED.sub("", text)))


def parser_of(program: str, name: str) -> argparse.ArgumentParser:
    """The parser of `alade-brian NAME`, or of `python experiments/NAME.py`."""
    modules = {command.name: command.module for command in COMMANDS}
    module = modules[name] if program == "alade-brian" else Path(name).stem
    return importlib.import_module(f"alade_brian.commands.{module}").parser()


def wrong_calls(text: str) -> list[str]:
    """The calls of commands that their parsers refuse, each with what the parser says."""
    wrong = []
    for line, whole in command_lines(text):
        program, name, *arguments = shlex.split(line)
        parser = parser_of(program, name)
        if not whole:
            for action in parser._actions:
                action.required = False
            for group in parser._mutually_exclusive_groups:
                group.required = False
        said = io.StringIO()
        try:
            with redirect_stdout(said), redirect_stderr(said):
                parser.parse_args(arguments)
        except SystemExit as left:
            if left.code:
                wrong.append(f"{line}: {said.getvalue()}")
    return wrong


@each_page
def test_commands_have_the_options_that_a_page_gives_them(page: Path) -> None:
    assert wrong_calls(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Of commands that require options or one of several, in running text and in a block.
        ("`alade-brian run-nir --fly`", "unrecognized arguments: --fly"),
        ("`alade-brian convert --fly`", "unrecognized arguments: --fly"),
        ("`python experiments/run_nir.py --fly`", "unrecognized arguments: --fly"),
        ("```\nalade-brian run-nir a.nir --input in.npz \\\n    --out out.npz --fly\n```\n", "unrecognized arguments: --fly"),
        ("```\nalade-brian run-nir a.nir --input in.npz\n```\n", "required: --out"),
        ("```\ntrue && python experiments/convert.py a.nir\n```\n", "is required"),
        ("`alade-brian run-nir a.nir`, `alade-brian convert`", ""),
        ("```\nalade-brian run-nir a.nir --input in.npz --out out.npz  # --fly\n```\n", ""),
    ],
)  # fmt: skip
def test_a_wrong_call_is_noticed(text: str, words: str) -> None:
    assert sum(1 for _ in command_lines(text)) == 1 + text.count("`, `")
    found = wrong_calls(text)
    assert len(found) == bool(words) and all(words in each for each in found)


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
