"""Construction by imitation in the bisimulation quotient: ``python -m experiments.reproduce.bq_nco [--quick]``.

The quick checks are exact: a beam with room for everything finds optima. Without ``--quick``, networks small enough for
two cores are trained on solved instances of 20 nodes and decode instances of 20, 40 and 80, in the quotient and in the
direct process; labels are kept in ``labels/`` and made once. Beside them stand networks of the same size that learned
without labels, by POMO, with as many gradient steps.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.reproduce.known import Arguments, reproduce_parts
from experiments.reproduce.returns import network_of
from experiments.reproduce.table import Row, at_least, at_most, exact
from experiments.results import about

LEARN_SEED, TEST_SEED = 0, 10_000
"""of instances"""
SMALL = {"layers": 3, "width": 64, "heads": 4, "hidden_width": 128}


@dataclass(frozen=True)
class Study:
    """What is trained of a problem, and what it is tested on.

    Attributes:
        nodes: of the instances that are learned from.
        tests: of those that are decoded.
        settings: of the instances, by number of nodes.
    """

    nodes: int = 20
    tests: tuple[int, ...] = (20, 40, 80)
    settings: dict[int, dict[str, Any]] = field(default_factory=dict)


STUDIES = {
    "tsp": Study(),
    "kp": Study(tests=(20,)),
    "cvrp": Study(tests=(20, 40), settings={40: {"capacity": 40}}),
    "op": Study(tests=(20,)),
    "atsp": Study(tests=(20, 40)),
}


@dataclass
class Sizes(Arguments):
    """What to check."""

    problems: tuple[str, ...] = ("tsp", "kp")
    """Problems of the full run, of tsp, atsp, cvrp, op and kp."""
    labels: int = 20_000
    """Solved instances to learn from."""
    updates: int = 20_000
    """Gradient steps of 256 solved instances each, and of POMO of 64 instances."""
    learning_rate: float = 1e-3
    """Adam's; it falls by half every quarter of the updates, of POMO linearly to 0."""
    seeds: int = 1
    """Networks of each kind."""
    first_seed: int = 0
    """The first one; 1000 and above to choose hyperparameters on."""
    instances: int = 500
    """Instances that are decoded, of each size."""
    directory: Path = Path("labels")
    """Where labels are kept."""
    models: Path | None = None
    """Keep the first seed's network of each problem there, for experiments.solve."""


def parts(arguments: Sizes) -> Iterable[Iterable[Row]]:
    """The rows, as soon as they are known."""
    yield optima()
    if not arguments.quick:
        for problem in arguments.problems:
            yield trained(problem, arguments)


def optima() -> Iterable[Row]:
    """Beams of a random network with room for all tours of six cities, beside dynamic programming."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.combinatorial import TSP, solution_cost, uniform_cities
    from jaxrl.envs.combinatorial.exact import best_tour

    from jaxrl import BQ, make
    from jaxrl.policies.construction import beam

    env, instances = make("quotient/combinatorial/tsp-v0", nodes=6), 16
    config = BQ(layers=1, width=12, heads=3, hidden_width=16)
    params = config.policy(env).init(jax.random.key(0))
    batch = jax.vmap(uniform_cities(6))(jax.random.split(jax.random.key(1), instances))
    found = jax.jit(beam(TSP, config.scorer(env), 120, (7,)))(params, batch)
    costs = np.asarray(jax.vmap(lambda *each: solution_cost(TSP, *each))(batch, jnp.asarray(found)))
    places = np.asarray(batch.nodes["coordinates"])[:, :6]
    optimal = [best_tour(np.linalg.norm(at[:, None] - at, axis=-1))[0] for at in places]
    error = float(np.abs(costs / optimal - 1).max())
    yield exact("tours of an exhaustive beam, largest distance from the optimum %", 100 * error, 0.0, 1e-3)


def labelled(problem: str, nodes: int, seed: int, number: int, arguments: Sizes) -> Any:
    """Labels, made where they are not there."""
    from experiments.label import Bar
    from jaxrl.sources.expert import label, request

    card = request(problem, {"nodes": nodes} | STUDIES[problem].settings.get(nodes, {}), seed)
    directory = arguments.directory / f"{problem}-{nodes}-{card.solver}-{seed}"
    with Bar(f"{problem} of {nodes} by {card.solver}") as progress:
        return label(directory, card, number, progress=progress), directory


def trained(problem: str, arguments: Sizes) -> Iterable[Row]:
    """Gaps to the experts of networks that learned from them, and of one that learned by trying."""
    from jaxrl import BQ, POMO

    study = STUDIES[problem]
    _, directory = labelled(problem, study.nodes, LEARN_SEED, arguments.labels, arguments)
    tests = {nodes: labelled(problem, nodes, TEST_SEED, arguments.instances, arguments)[0] for nodes in study.tests}
    trained_on = f"{arguments.labels:,} labels of {study.nodes}, {arguments.updates:,} updates"
    where = f"{problem}, {trained_on}: instances of"
    config = BQ(
        learning_rate=arguments.learning_rate, decay=0.5, decay_updates=max(1, arguments.updates // 4),
        labels=str(directory), batch_size=256, num_sizes=5, **SMALL,
    )  # fmt: skip
    greedy, wide = gaps(problem, "quotient/", config, tests, arguments, (GREEDY, BEAM))
    first = study.nodes
    bound = 0.3 if problem == "kp" else 2.0
    yield at_most(f"{where} {first}: gap of greedy decoding %", greedy[first], bound)
    for nodes in study.tests[1:]:
        times = nodes // first
        name = f"{where} {nodes}: gap of greedy decoding, beside {times} times that of {first} %"
        yield at_most(name, greedy[nodes], times * float(np.mean(greedy[first])))
    for nodes in study.tests:
        half = float(np.mean(greedy[nodes])) / 2
        yield at_most(f"{where} {nodes}: gap of a beam of 16, beside half of greedy's %", wide[nodes], half)
    if problem == "atsp":  # the direct process needs coordinates
        return
    if problem == "tsp":
        (direct,) = gaps(problem, "", config, tests, arguments, (GREEDY,))
        last = study.tests[-1]
        name = f"{where} {last}: gap of the direct process, beside 5 times the quotient's %"
        yield at_least(name, direct[last], 5 * float(np.mean(greedy[last])), "claim")
    trying = POMO(learning_rate=arguments.learning_rate, anneal_learning_rate=True, microbatch_size=16, **SMALL)
    alone, best = gaps(problem, "", trying, tests, arguments, (GREEDY, EVERYWHERE))
    where = f"{problem}, POMO, {arguments.updates:,} updates of 64 instances of {first}: instances of"
    for nodes in study.tests:
        name = f"{where} {nodes}: gap of greedy decoding, beside BQ's %"
        yield at_least(name, alone[nodes], float(np.mean(greedy[nodes])), "claim")
        name = f"{where} {nodes}: gap of the best of all starts and images, beside BQ's by a beam of 16 %"
        yield at_least(name, best[nodes], float(np.mean(wide[nodes])), "claim")


class Decoding(NamedTuple):
    """How networks are judged."""

    make: Callable[[Any, int, Any], Any]
    """``(problem, slots, scorer) -> Decode``"""
    width: int
    """partial solutions of an instance at once, for the memory"""
    symmetries: int = 1
    """images of an instance that are tried where there are some"""


def beam_of(width: int) -> Decoding:
    """The partial solutions of the greatest probability; one is greedy."""

    def make(problem, slots, score):
        from jaxrl.policies.construction import beam

        del slots
        return beam(problem, score, width)

    return Decoding(make, width)


def from_all_starts(problem, slots, score):
    """Greedily from all nodes: where tours begin, or the first that is gone to."""
    from jaxrl.policies.construction import greedy, multistart, rotated

    if problem.circular:
        return rotated(problem, greedy(problem, score), slots)
    return multistart(problem, score, slots)


GREEDY, BEAM, EVERYWHERE = beam_of(1), beam_of(16), Decoding(from_all_starts, 20, 8)


def gaps(
    problem: str, prefix: str, config: Any, tests: dict[int, Any], arguments: Sizes, decodings: tuple[Decoding, ...]
) -> list[dict[int, list[float]]]:
    """For each decoding, the mean gap in percent of each seed's network, by size of the instances."""
    import jax
    import jax.numpy as jnp
    from jaxrl.envs.combinatorial import PROBLEMS, solution_cost

    from experiments.models import save_model
    from jaxrl import BQ, make, train
    from jaxrl.engine.sinks import Progress
    from jaxrl.policies.construction import augmented

    study = STUDIES[problem]
    settings = {"nodes": study.nodes} | study.settings.get(study.nodes, {})
    env = make(f"{prefix}combinatorial/{problem}-v0", **settings)
    result = train(
        config,
        env,
        seeds=range(arguments.first_seed, arguments.first_seed + arguments.seeds),
        updates=arguments.updates,
        evaluate_every=0,
        sinks=[Progress()],
    )
    print(f"{type(config).__name__}, {prefix or 'direct '}{problem}: trained in {result.seconds['train']:.0f} s")
    params = network_of(result)
    if isinstance(config, BQ) and prefix and arguments.models:
        first = jax.tree.map(lambda leaf: leaf[0], params)
        save_model(arguments.models / problem, problem, settings, config, first, about("experiments.reproduce.bq_nco"))
    what = PROBLEMS[problem]
    value = jax.jit(jax.vmap(lambda *each: solution_cost(what, *each)))
    found = []
    for make_decode, width, symmetries in decodings:
        by_size = {}
        for nodes, labels in tests.items():
            slots = labels.solved.instance.remaining.valid.shape[1]
            decode = config.decoder(env, partial(make_decode, what, slots))
            if symmetries > 1 and "coordinates" in labels.solved.instance.nodes:
                decode = augmented(what, decode, symmetries)
            decode = jax.jit(decode)
            by_size[nodes] = []
            for seed in range(arguments.seeds):
                own = jax.tree.map(lambda leaf, seed=seed: leaf[seed], params)
                costs = []
                for rows in np.array_split(np.arange(len(labels.cost)), -(-len(labels.cost) * width // 2000)):
                    batch = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), labels.solved.instance)
                    costs.append(np.asarray(value(batch, decode(own, batch))))
                cost = np.concatenate(costs)
                by_size[nodes].append(100 * (float(cost.mean()) / float(labels.cost.mean()) - 1) * np.sign(cost.mean()))
        found.append(by_size)
    return found


INTRODUCTION = (
    "Gaps are of mean costs to those of the experts that also made the labels: fast-tsp and OR-Tools by default. Test"
    " instances are of other seeds than those learned from. Networks have 3 layers of 64, 4 heads and 128 inside, and"
    " take batches of 256; the paper's have 9 layers of 192, batches of 1,024, and a million instances of 100 nodes."
    " POMO's, of the same size, take batches of 64 fresh instances, each solved from all its starts."
)

if __name__ == "__main__":
    title = "BQ-NCO: construction by imitation"
    sys.exit(reproduce_parts("bq_nco", __doc__, title, INTRODUCTION, parts, Sizes))
