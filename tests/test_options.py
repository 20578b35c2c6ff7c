"""Options that several commands have are declared once, and mean the same simulation in each."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from alade_brian import cli
from alade_brian.commands import options
from alade_brian.commands.options import SharedOption, add_simulation, simulation_settings
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings

GIVEN = [
    "--backend",
    "numpy",
    "--connectivity",
    "explicit",
    "--workers",
    "2",
    "--cluster",
    "tcp://host:1",
    "--cuda-python",
    "python",
]
COMMANDS: dict[str, list[str]] = {
    "conformance": [],
    "perturb": ["x.safetensors", "--perturb", "delay"],
    "run_nir": ["x.nir", "--input", "a", "--out", "b"],
    "witness": ["x.safetensors"],
    "verify": ["x.py:y", "z.npy"],
    "trace_neurons": ["x.safetensors", "--layer", "all"],
    "perturb_study": ["digits"],
    "run_cil": [],
    "train": ["digits-plain"],
}
# A number of things, or the numbers of these things: told apart by how many values the option takes.
COUNT_OR_NUMBERS = {"--images", "--neurons"}
SHARED = [found for found in vars(options).values() if isinstance(found, SharedOption)]


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Those of all commands, and of their own sub-commands."""
    for command in cli.COMMANDS:
        waiting = [importlib.import_module(f"alade_brian.commands.{command.module}").parser()]
        for parser in waiting:
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    waiting += action.choices.values()
        yield from waiting


def declaration(action: argparse.Action) -> tuple[object, ...]:
    """What an option is, apart from its default and from what a command says of it in parentheses."""
    sentence = (action.help or "").partition(" (")[0].replace("%%", "%")
    return type(action), action.type, action.nargs, sentence


def test_what_several_commands_have_is_declared_once() -> None:
    found: dict[str, dict[str, tuple[object, ...]]] = {}
    for parser in parsers():
        for action in parser._actions:
            for flag in set(action.option_strings) - {"-h", "--help"}:
                found.setdefault(flag, {})[parser.prog] = declaration(action)
    shared = {flag: each for flag, each in found.items() if len(each) > 1}
    assert {"--data-root", "--out", "--seed", "--images", "--jobs", "--backend", "--workers"} <= set(shared)
    for flag, each in shared.items():
        # `run` and `train` add theirs by one function.
        if set(each) == {"alade-brian run", "alade-brian train"}:
            assert len(set(each.values())) == 1
            continue
        declared = {declared_as(option) for option in SHARED if option.flag == flag}
        assert len(declared) == 1 + (flag in COUNT_OR_NUMBERS), f"{flag} of {', '.join(each)}: declare it in options.py"
        for prog, own in each.items():
            assert own in declared, f"{prog} declares {flag} anew, {own}; add it from options.py"


def declared_as(option: SharedOption) -> tuple[object, ...]:
    parser = argparse.ArgumentParser()
    option.add(parser)
    return declaration(parser._actions[-1])


def test_every_shared_option_is_used_by_some_command() -> None:
    flags = {flag for parser in parsers() for action in parser._actions for flag in action.option_strings}
    assert {option.flag for option in SHARED} <= flags


def test_a_command_changes_nothing_but_its_own_part() -> None:
    parser = argparse.ArgumentParser()
    option = SharedOption("--share", "share of images", type=float, metavar="S")
    with pytest.raises(TypeError, match="--share is declared once: a command cannot change type"):
        option.add(parser, type=int)
    option.add(parser, "above 5%", default=0.5)
    assert "share of images (above 5%; default: 0.5)" in " ".join(parser.format_help().split())
    assert parser.parse_args([]).share == 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_simulates_takes_them_all(command: str) -> None:
    parser = importlib.import_module(f"alade_brian.commands.{command}").parser()
    found = vars(parser.parse_args([*COMMANDS[command], *GIVEN]))
    wanted = {
        "backend": "numpy",
        "connectivity": "explicit",
        "workers": 2,
        "cluster": "tcp://host:1",
        "cuda_python": Path("python"),
    }
    assert {key: found[key] for key in wanted} == wanted


def test_they_become_settings() -> None:
    parser = argparse.ArgumentParser()
    add_simulation(parser, workers=1)
    assert simulation_settings(parser.parse_args(["--backend", "numpy"])) == SimulationSettings(backend="numpy")
    chosen = simulation_settings(parser.parse_args(["--backend", "numpy", "--workers", "3"]), reuse=True)
    assert chosen == SimulationSettings(backend="numpy", workers=3, reuse=True)
    with pytest.raises(UserError, match="workers is 0; use at least 1"):
        simulation_settings(parser.parse_args(["--backend", "numpy", "--workers", "0"]))
