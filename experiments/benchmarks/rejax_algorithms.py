"""Rejax's algorithms with the hyperparameters of ours. For Rejax's environment: nothing of jaxrl is imported here."""

import math
from typing import Any


def create(case: dict[str, Any], steps: int, evaluation: bool = False) -> Any:
    """The algorithm of a case, for so many environment steps.

    Args:
        case: ``algorithm``, ``env``, ``env_settings`` and ``config``, all hyperparameters by our names.
        evaluation: Rejax's default one, or none.
    """
    import jax.numpy as jnp
    import rejax

    settings = {"PPO": ppo, "DQN": dqn}[case["algorithm"]](case["config"])
    if not evaluation:
        settings |= {"eval_freq": steps, "skip_initial_evaluation": True}
    algorithm = getattr(rejax, case["algorithm"]).create(
        env=case["env"], env_params=case["env_settings"], total_timesteps=steps, **settings
    )
    return algorithm if evaluation else algorithm.replace(eval_callback=lambda algorithm, state, key: jnp.zeros(()))


def ppo(config: dict[str, Any]) -> dict[str, Any]:
    """No annealing and no convolution; gradients are clipped per element."""
    agent = {"activation": config["activation"], "hidden_layer_sizes": tuple(config["hidden_sizes"])}
    return shared(config) | {
        "agent_kwargs": agent,
        "num_steps": config["num_steps"],
        "num_epochs": config["num_epochs"],
        "num_minibatches": config["num_minibatches"],
        "gae_lambda": config["gae_lambda"],
        "clip_eps": config["clip"],
        "ent_coef": config["entropy_coefficient"],
        "vf_coef": config["value_coefficient"],
        "normalize_observations": config["normalise_observations"],
        "normalize_rewards": config["scale_rewards"],
    }


def dqn(config: dict[str, Any]) -> dict[str, Any]:
    """A scalar value, one step at a time, squared errors and two layers of 64; the target network moves once in each
    iteration."""
    fixed = {"hidden_sizes": [64, 64], "head_sizes": [], "num_steps": 1, "n_step": 1, "space": "scalar"}
    fixed |= {"huber_threshold": math.inf, "prioritised": False, "munchausen": False}
    fixed |= {"target_every": config["num_updates"]}
    different = {name: config[name] for name, value in fixed.items() if config[name] != value}
    if different:
        raise ValueError(f"Rejax's DQN has no {different}")
    return shared(config) | {
        "num_epochs": config["num_updates"],
        "batch_size": config["batch_size"],
        "buffer_size": config["capacity"],
        "fill_buffer": config["learning_starts"],
        "eps_start": config["epsilon_start"],
        "eps_end": config["epsilon_end"],
        "exploration_fraction": config["exploration_fraction"],
        "target_update_freq": config["num_envs"],
        "polyak": 1 - config["target_rate"],
        "ddqn": config["double"],
        "agent": "DuelingQNetwork" if config["dueling"] else "QNetwork",
        "agent_kwargs": {"activation": config["activation"]},
    }


def shared(config: dict[str, Any]) -> dict[str, Any]:
    """What all algorithms have."""
    return {
        "num_envs": config["num_envs"],
        "learning_rate": config["learning_rate"],
        "gamma": config["gamma"],
        "max_grad_norm": config["max_grad_norm"],
    }
