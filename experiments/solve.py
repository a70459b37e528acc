"""Solves an instance from a file by a trained network: ``python -m experiments.solve tsp --file instance.tsp``.

Prints the length of the solution and draws it. Reads TSPLIB's TSP and ATSP, and CVRPLIB's files.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.command_line import exit_code, or_none, parse_all
from jaxrl.errors import InvalidArgument


@dataclass(frozen=True)
class Solving:
    """Constructs a solution, node by node."""

    problem: tyro.conf.Positional[Literal["tsp", "atsp", "cvrp"]]
    """Of the file."""
    file: Path
    """The instance."""
    model: Annotated[Path | None, or_none("PATH")] = None
    """Folder of the network, or of a run of bq or pomo; by default the network that comes with jaxrl, where there is
    one."""
    beam: int = 1
    """Partial solutions that are kept at every step; 1 is greedy."""
    starts: int = 1
    """Solutions, of which the best is kept: tours that begin at so many nodes, or at all there are; routes with so many
    first customers, the likeliest ones."""
    neighbours: Annotated[int | None, or_none("INT")] = None
    """Nodes that the network looks at in every step, the nearest ones; all by default. For hundreds of nodes and more;
    above the number of nodes it is that number."""
    symmetries: int = 1
    """Mirror images and turns of the plane that are tried, up to 8."""
    picture: Annotated[Path | None, or_none("PATH")] = None
    """Where the drawing goes; by default beside you, by the file's name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return exit_code(command, argv)


def command(argv: list[str]) -> int:
    options = parse_all(Solving, argv, "experiments.solve")
    import jax
    import numpy as np
    from jaxrl.envs.combinatorial import NOWHERE, solution_cost
    from jaxrl.envs.combinatorial.files import read_cvrplib, read_tsplib
    from PIL import Image

    from experiments.combinatorial_viewer import solution_picture
    from experiments.models import MODELS, load_model
    from jaxrl.policies.construction import augmented, beam, multistart, nearest, rotated

    if not options.file.is_file():
        raise InvalidArgument("file", str(options.file), "must be a file that is there")
    problem, instance = (read_cvrplib if options.problem == "cvrp" else read_tsplib)(options.file)
    if problem.name != options.problem:
        raise InvalidArgument("file", str(options.file), f"must be a {options.problem}, not a {problem.name}")
    model = load_model(options.model or MODELS / options.problem)
    if model.problem != options.problem:
        raise InvalidArgument("model", str(options.model), f"must be of {options.problem}, not of {model.problem}")
    slots = len(instance.remaining.valid)
    neighbours = options.neighbours
    if neighbours is not None and neighbours > slots:
        print(f"neighbours {slots}, all there are")
        neighbours = slots
    by_first_step = options.starts != 1 and not problem.circular
    if by_first_step and options.beam != 1:
        raise InvalidArgument("beam", options.beam, f"must be 1 with starts={options.starts}")

    def decoder(score):
        score = score if neighbours is None else nearest(problem, score, neighbours)
        if by_first_step:
            return multistart(problem, score, options.starts)
        found = beam(problem, score, options.beam)
        return found if options.starts == 1 else rotated(problem, found, options.starts)

    decode = model.config.decoder(model.env, decoder)
    if options.symmetries != 1:
        decode = augmented(problem, decode, options.symmetries)
    start = time.perf_counter()
    batch = jax.tree.map(lambda leaf: leaf[None], instance)
    solution = np.asarray(jax.jit(decode)(model.params, batch)[0])
    seconds = time.perf_counter() - start
    cost = float(solution_cost(problem, instance, solution))
    path = options.picture or Path(f"{options.file.stem}.png")
    Image.fromarray(solution_picture(problem, instance, solution)).save(path)
    nodes = solution[solution != NOWHERE] // problem.flags
    print(f"length     {cost:.6g}, {len(nodes)} nodes beside the start, in {seconds:.1f} s with compiling")
    print(f"solution   {' '.join(map(str, nodes + 1))}")
    print(f"picture    {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
