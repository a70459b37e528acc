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

    settings = {"PPO": ppo, "DQN": dqn, "SAC": sac, "TD3": td3}[case["algorithm"]](case["config"])
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
    refuse_others("DQN", config, fixed)
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


def sac(config: dict[str, Any]) -> dict[str, Any]:
    """One step size for all, targets that move at each gradient step, a learned temperature that starts at 1, and log
    standard deviations from -10 to 2."""
    fixed = {"temperature": None, "initial_temperature": 1.0, "target_entropy": None, "actor_value": "least"}
    fixed |= {"target_critics": None, "value_network": False, "log_std_min": -10.0, "log_std_max": 2.0}
    fixed |= {"temperature_learning_rate": config["actor_learning_rate"]}
    refuse_others("SAC", config, fixed)
    return replayed(config) | {
        "agent_kwargs": {"activation": config["activation"]},
        "hidden_layer_sizes": tuple(config["hidden_sizes"]),
    }


def td3(config: dict[str, Any]) -> dict[str, Any]:
    """As SAC. The target policy's noise is in units of the action in Rejax, and of its box's half-width in ours."""
    refuse_others("TD3", config, {"hidden_sizes": [64, 64]})
    return replayed(config) | {
        "actor_kwargs": {"activation": config["activation"]},
        "critic_kwargs": {"activation": config["activation"]},
        "exploration_noise": config["exploration_noise"],
        "target_noise": config["target_noise"],
        "target_noise_clip": config["target_noise_clip"],
        "policy_delay": config["policy_delay"],
    }


def replayed(config: dict[str, Any]) -> dict[str, Any]:
    """What its off-policy actor-critics have."""
    fixed = {"num_steps": 1, "restart_every": None, "dropout": 0.0, "layer_norm": False}
    fixed |= {"critic_learning_rate": config["actor_learning_rate"]}
    refuse_others("SAC or TD3", config, fixed)
    return shared(config | {"learning_rate": config["actor_learning_rate"]}) | {
        "num_epochs": round(config["update_to_data"] * config["num_envs"]),
        "batch_size": config["batch_size"],
        "buffer_size": config["capacity"],
        "fill_buffer": config["learning_starts"],
        "polyak": 1 - config["target_rate"],
        "num_critics": config["num_critics"],
        "normalize_observations": config["normalise_observations"],
    }


def refuse_others(name: str, config: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Raises ValueError for hyperparameters that Rejax has no place for."""
    different = {field: config[field] for field, value in fixed.items() if config[field] != value}
    if different:
        raise ValueError(f"Rejax's {name} has no {different}")


def shared(config: dict[str, Any]) -> dict[str, Any]:
    """What all algorithms have."""
    return {
        "num_envs": config["num_envs"],
        "learning_rate": config["learning_rate"],
        "gamma": config["gamma"],
        "max_grad_norm": config["max_grad_norm"],
    }
