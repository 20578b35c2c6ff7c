"""Compare NIR graphs in Brian2 with their runs in the frameworks that import them, spike by spike.

    alade-brian conformance --json conformance.json
    alade-brian conformance --graphs NIR/paper

The graphs are those of the NIR paper's three tasks, with random weights, and whatever lies in the folder given with
--graphs: *.nir, each shown NAME.npz (`input`, as for run-nir) if that lies beside it, else random spikes. Recorded
spikes beside a graph are compared too: NAME.SOURCE.npz (arrays by node, as run-nir writes them), and of a graph of one
neuron *.csv (input, membrane, spikes in every step).

Every installed framework among snnTorch, Norse and SpikingJelly imports the same graph, and networks that each builds
and exports itself are compared with their graphs. A framework that refuses a graph is listed with its reason.

Exit code 0: every spike that could be compared is the same; 1: some are not; 2: wrong use or input.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from alade_brian.commands.options import JSON, SEED, STEPS, add_simulation, count, simulation_settings
from alade_brian.commands.pages import head_of
from alade_brian.errors import UserError
from alade_brian.files import write_json, write_text
from alade_brian.outputs import check_new_file
from alade_brian.verification.conformance.folder import compared_files, graph_files
from alade_brian.verification.conformance.frameworks import FRAMEWORKS
from alade_brian.verification.conformance.page import MARK, tables
from alade_brian.verification.conformance.paper import compared_own_networks, compared_paper_networks


def parser(prog: str = "alade-brian conformance") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--graphs", type=Path, metavar="DIR", help="a folder of NIR graphs to compare too")
    p.add_argument("--presentations", type=count, default=4, metavar="N", help="of each graph (default: 4)")
    STEPS.add(p, default=100)
    SEED.add(p, "weights, input", default=1993)
    JSON.add(p)
    p.add_argument("--page", type=Path, metavar="FILE", help="write the tables behind the mark of this Markdown page")
    add_simulation(p, workers=1)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Compare, print, write; the exit code."""
    if arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps}: use at least 1")
    check_new_file(arguments.json, "--json")
    head = None if arguments.page is None else head_of(arguments.page, MARK)
    files = [] if arguments.graphs is None else graph_files(arguments.graphs)
    settings = simulation_settings(arguments)
    how = (arguments.presentations, arguments.steps, arguments.seed, settings)
    rows = [*compared_paper_networks(*how), *compared_own_networks(*how), *compared_files(files, *how)]
    result: dict[str, Any] = {
        "format": 1, "presentations": arguments.presentations, "steps": arguments.steps, "seed": arguments.seed,
        "versions": [f"{f.name} {f.version}" for f in FRAMEWORKS if f.version], "rows": [row.record() for row in rows],
    }  # fmt: skip
    text = tables(result)
    print(text)
    if arguments.json:
        write_json(arguments.json, result)
    if head is not None:
        write_text(arguments.page, f"{head}\n\n{text}\n")
    return 1 if any(row.mismatched for row in rows) else 0
