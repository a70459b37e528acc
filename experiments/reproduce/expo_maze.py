"""EXPO in a maze with two ways, beside what it is without its parts and beside RLPD, for ``reproduce.expo``.

Sizes are those of a CPU: small networks, few proposals and critics, one gradient step for each environment step.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.demonstrations import ENV, demonstrations
from experiments.reproduce.table import Row, at_least, beside
from jaxrl.stats import interquartile_interval

EVALUATIONS, EPISODES = 20, 32
"""in a training, and of each seed at each"""
LIMIT = 300
"""steps of an episode; the walker takes about 32"""
REACHED = 0.9
"""success rate that counts as having learned the way"""
MARGIN = 0.1
"""of success rates: what counts as better without disjoint intervals, and how far the first steps may fall"""
SHARED = {
    "reward_offset": -1.0, "num_critics": 4, "target_critics": 1, "layer_norm": True, "hidden_sizes": (64, 64),
    "batch_size": 64, "update_to_data": 1.0, "actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3,
    "temperature_learning_rate": 3e-3,
}  # fmt: skip
"""by all, prior data beside"""
OWN = {
    "num_proposals": 4, "num_edits": 4, "edit_width": 0.2, "base_width": 32, "base_blocks": 1,
    "base_learning_rate": 1e-3, "learning_starts": 0,
}  # fmt: skip
"""by EXPO and its variants"""
INTRODUCTION = (
    f"In {ENV} the success rate is of {EPISODES} episodes of each seed, or as many as the command says; trained on"
    " r - 1 with 200 demonstrations of a scripted walker, 40% of them cut before the goal. Sizes are a CPU's: layers of"
    " 64, one block of 32 of the diffusion with 10 steps, 4 proposals and 4 edits of at most 0.2, 4 critics of which"
    " one is the target, batches of 64, one gradient step of the critics for each environment step, Adam's steps 1e-3"
    " (3e-3 of the temperature), where the paper has layers of 256, three blocks of 256, 8 and 8, edits of 0.05, 10"
    " critics, 256, 20 and 3e-4. RLPD has the same critics, data and batches. Better means by 0.1, or with disjoint"
    " 90% intervals. Interquartile means over seeds; the intervals shown are 95% bootstrap."
)


def configs(prior: str, pretraining: int) -> dict[str, Any]:
    """What is compared, by name; ``imitation`` is what the diffusion does before anything is learned online."""
    from jaxrl import EXPO, SAC

    expo = EXPO(**SHARED, **OWN, prior=prior, pretraining=pretraining)
    rlpd = SAC(
        **SHARED, prior=prior, learning_starts=500, actor_value="mean", backup_entropy=False, target_entropy=-1.0
    )
    return {
        "EXPO": expo,
        "best of 4 without edits": expo.replace(num_edits=0),
        "one sample in the target": expo.replace(best_in_target=False),
        "RLPD": rlpd,
        "imitation": expo.replace(num_proposals=1, num_edits=0),
    }


def maze(
    seeds: int | Sequence[int],
    steps: int,
    pretraining: int,
    limit: int = LIMIT,
    episodes: int = EPISODES,
    demonstrated: int = 200,
) -> Iterable[Row]:
    """EXPO's success at a quarter of the steps beside the others', and what becomes of the imitation at first.

    Args:
        seeds: how many, or which.
        steps: of the environment, of each seed.
        pretraining: gradient steps of the diffusion on the demonstrations alone.
        limit: steps of an episode at most.
        episodes: of each evaluation.
        demonstrated: episodes of the walker.
    """
    from jaxrl import train
    from jaxrl.engine.sinks import Progress
    from jaxrl.sources.dataset import save

    with tempfile.TemporaryDirectory() as folder:
        prior = str(Path(folder) / "demonstrations")
        save(demonstrations(demonstrated), prior)
        every, curves = max(1, steps // EVALUATIONS), {}
        for name, config in configs(prior, pretraining).items():
            long = 1 if name == "imitation" else steps
            how = {"evaluate_every": every, "evaluation_episodes": episodes, "sinks": [Progress()]}
            how["env_settings"] = {"max_steps_in_episode": limit}
            curves[name] = train(config, ENV, seeds=seeds, steps=long, **how).metrics
    yield from rows(curves, every, f"{ENV} at a CPU's sizes, {steps:,} steps, episodes of at most {limit}")


def rows(curves: dict[str, dict[str, np.ndarray]], every: int, where: str) -> Iterable[Row]:
    """The rows of metrics ``[seeds, evaluations]``, ``every`` so many steps; of the imitation one evaluation."""

    def at(share: float, name: str, metric: str) -> np.ndarray:
        curve = curves[name][f"evaluation_{metric}"]
        return curve[:, max(1, round(share * curve.shape[1])) - 1]

    others = [name for name in curves if name != "EXPO"]
    rivals = [name for name in others if name != "imitation"]
    for name in rivals:
        of = (at(0.25, one, "return") for one in ("EXPO", name))
        yield better(f"{where}: success at a quarter, EXPO beside {name}", *of, MARGIN)
    for name in rivals:
        of = (-until(curves[one]["evaluation_return"], every) for one in ("EXPO", name))
        yield better(f"{where}: minus the steps until a success rate of {REACHED}, EXPO beside {name}", *of)
    bound = float(interquartile_interval(at(1.0, "imitation", "return")).value) - MARGIN
    name = f"{where}: success at a tenth, beside the imitation's less {MARGIN}"
    yield at_least(name, at(0.1, "EXPO", "return"), bound, "claim")
    for share, when in ((0.25, "a quarter"), (1.0, "the end")):
        for name in others:
            of = (-at(share, one, "length") for one in ("EXPO", name))
            yield better(f"{where}: minus the steps of an episode at {when}, EXPO beside {name}", *of)


def until(success: np.ndarray, every: int) -> np.ndarray:
    """Steps ``[seeds]`` until the first evaluation at which a success rate ``[seeds, evaluations]`` is ``REACHED``; one
    evaluation after the last where it never is."""
    reached = np.concatenate([success >= REACHED, np.ones((len(success), 1), bool)], axis=1)
    return every * (1.0 + reached.argmax(axis=1))


def better(name: str, ours: np.ndarray, theirs: np.ndarray, margin: float | None = None) -> Row:
    """What must have a 90% interval above the other's, or be a success rate greater by ``margin``, which one that is
    near 1 already leaves no room for."""
    narrow, other = (interquartile_interval(each, confidence=0.9) for each in (ours, theirs))
    apart = narrow.low > other.high or (margin is not None and narrow.value - other.value >= margin)
    verdict = "holds" if apart else "falls short"
    if not apart and margin is not None and other.value > 1 - margin:
        verdict = f"not testable here: there is nothing {margin:g} above {other.value:.3g}"
    estimate, reference = interquartile_interval(ours), beside(interquartile_interval(theirs), len(theirs))
    return Row(name, *estimate, len(ours), reference, "claim", verdict)
