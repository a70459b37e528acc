"""Directories of runs as the engine writes them, made up in a moment: for reports of any size.

``python tests/experiments/synthetic_runs.py DIRECTORY --seeds 20 --evaluations 100 --grid 5 5 10`` writes one.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

METRICS = ("episode_return", "episode_length", "loss", "policy_loss", "value_loss", "entropy", "approximate_kl")


def write_run(
    directory: Path,
    *,
    seeds: int = 10,
    evaluations: int = 5,
    grid: dict[str, list] | None = None,
    env: str = "CartPole-v1",
    skill: float = 1.0,
    frozen: dict[int, int] | None = None,
    given_up: dict[int, int] | None = None,
    ended: bool = True,
) -> pd.DataFrame:
    """Writes a run and returns its rows.

    Args:
        grid: hyperparameter to values; every combination is a config.
        skill: scales the returns.
        frozen: member to the update at which it turned non-finite.
        given_up: config to the number of evaluations that it has.
    """
    rng = np.random.default_rng(0)
    grid = grid or {}
    combinations = list(itertools.product(*grid.values()))
    configs, members = len(combinations), len(combinations) * seeds
    config = np.repeat(np.arange(configs), seeds)
    columns = {name: np.array([c[i] for c in combinations])[config] for i, name in enumerate(grid)}
    quality = np.full(members, 420.0)
    for values in columns.values():
        codes = np.unique(values, return_inverse=True)[1]
        quality -= 60 * np.abs(codes - codes.max() / 2) / max(codes.max(), 1)
    speed = rng.uniform(0.5, 1.5, members)
    tables = []
    for evaluation in range(evaluations):
        updates = (evaluation + 1) * 10
        progress = 1 - np.exp(-3 * speed * (evaluation + 1) / evaluations)
        value = skill * np.clip(quality * progress + rng.normal(0, 15, members), 0, 500)
        metrics = {"evaluation_return": value, "evaluation_length": value}
        metrics |= {name: rng.normal(size=members) * (1 - progress) for name in METRICS}
        frozen_at = np.full(members, -1)
        for member, update in (frozen or {}).items():
            frozen_at[member] = update if update <= updates else -1
        metrics = {name: np.where(frozen_at == -1, v, np.nan).astype(np.float32) for name, v in metrics.items()}
        rows = pd.DataFrame(
            {"member": np.arange(members), "config": config, "seed": np.tile(np.arange(seeds), configs), **columns}
            | {"evaluation": evaluation, "updates": updates, "environment_steps": np.int64(updates * 512)}
            | {"wall_seconds": 1.5 * (evaluation + 1), **metrics, "frozen_at": frozen_at}
        )
        for name, count in (given_up or {}).items():
            rows = rows[(rows["config"] != name) | (evaluation < count)]
        tables.append(rows)
    (directory / "metrics").mkdir(parents=True)
    for evaluation, rows in enumerate(tables):
        rows.to_parquet(directory / "metrics" / f"{evaluation:06d}.parquet", index=False)
    request = {
        "algorithm": "PPO",
        "config": {"learning_rate": 2.5e-4, "gamma": 0.99, "num_envs": 4} | grid,
        "env": env,
        "env_settings": {},
        "seeds": list(range(seeds)),
        "updates": (evaluations or 5) * 10,
        "schedule": [10, evaluations or 5],
    }
    made_with = {"versions": {"jaxrl": "0.1.0"}, "commit": None, "time": "2026-01-01T00:00:00+00:00"}
    (directory / "config.json").write_text(json.dumps({"request": request, "made_with": made_with}))
    if ended:
        seconds = {"compile": 3.25, "train": 12.5, "evaluate": 1.75, "save": 0.5}
        (directory / "summary.json").write_text(json.dumps({"seconds": seconds, "steps_per_second": 123456.0}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


GRID = {
    "learning_rate": np.geomspace(1e-5, 1e-2, 5).round(7).tolist(),
    "gae_lambda": [0.8, 0.9, 0.95, 0.98, 1.0],
    "num_envs": [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048],
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--grid", type=int, nargs="*", default=[], help="values of each swept hyperparameter")
    parser.add_argument("--skill", type=float, default=1.0)
    given = parser.parse_args()
    sizes = {name: values[:count] for (name, values), count in zip(GRID.items(), given.grid)}
    write_run(given.directory, seeds=given.seeds, evaluations=given.evaluations, grid=sizes, skill=given.skill)
