"""One measurement of a peer's dynamic programming for ``bellman_speed``, in its own environment: prints a JSON line."""

import json
import sys

import numpy as np

from experiments.benchmarks.measure_bellman import timed


def main() -> None:
    """Solves the processes of the case in ``argv[1]``, one after the other."""
    case = json.loads(sys.argv[1])
    with np.load(case["path"]) as arrays:
        parts = [arrays[name][: case["processes"]] for name in ("successors", "probabilities", "rewards")]
        exact = arrays["values"][: case["processes"]]
    solvers = [{"quantecon": quantecon, "MDPSolver": mdpsolver}[case["peer"]](case, *one) for one in zip(*parts)]
    measured, found = timed(lambda: [solve() for solve in solvers], case["solves"])
    values, sweeps = zip(*found)
    measured |= {"error": float(np.abs(np.array(values) - exact).max())}
    if sweeps[0] is not None:
        measured["sweeps"] = sum(sweeps) / len(sweeps)
        measured["updates_per_second"] = sum(sweeps) * parts[0][0].size / measured["seconds"]
    print(json.dumps(measured))


def quantecon(case, successors, probabilities, rewards):
    """Returns ``() -> (values, sweeps)``. Its values are within half of ``epsilon`` of the exact ones."""
    import scipy.sparse
    from quantecon.markov import DiscreteDP

    states, actions, outcomes = successors.shape
    rows = np.arange(0, successors.size + 1, outcomes)
    kernel = scipy.sparse.csr_matrix((probabilities.ravel(), successors.ravel(), rows), (states * actions, states))
    pairs = np.repeat(np.arange(states), actions), np.tile(np.arange(actions), states)
    process = DiscreteDP(rewards.ravel(), kernel, case["discount"], *pairs)

    def solve():
        found = process.solve(method=case["method"], epsilon=2 * case["error"], max_iter=100_000)
        # Those of modified policy iteration sweep under each policy too, and how often is not reported.
        return found.v, found.num_iter if case["method"] == "value_iteration" else None

    return solve


def mdpsolver(case, successors, probabilities, rewards):
    """The same; it does not report sweeps."""
    import mdpsolver

    process = mdpsolver.model()
    process.mdp(
        discount=case["discount"],
        rewards=rewards.tolist(),
        tranMatProbs=probabilities.tolist(),
        tranMatColumns=successors.tolist(),
    )
    algorithm = {"value_iteration": "vi", "modified_policy_iteration": "mpi"}[case["method"]]

    def solve():
        process.solve(algorithm=algorithm, tolerance=case["error"], makeFinalCheck=False)
        return np.array(process.getValueVector()), None

    return solve


if __name__ == "__main__":
    main()
