"""Returns that Rejax's PPO reaches, for ``experiments.reproduce.ppo``: prints a JSON line. Runs in Rejax's
environment."""

import json
import sys

EPISODES = 16


def main() -> None:
    """Trains the case in ``argv[1]`` and judges every seed by greedy episodes."""
    import jax
    import jax.numpy as jnp
    from rejax import PPO

    case = json.loads(sys.argv[1])
    algorithm = PPO.create(
        env=case["env"],
        env_params=case["env_settings"],
        num_envs=case["num_envs"],
        num_steps=case["num_steps"],
        num_epochs=case["num_epochs"],
        num_minibatches=case["num_minibatches"],
        agent_kwargs={"activation": case["activation"], "hidden_layer_sizes": tuple(case["hidden_sizes"])},
        learning_rate=case["learning_rate"],
        gamma=case["gamma"],
        gae_lambda=case["gae_lambda"],
        clip_eps=case["clip"],
        ent_coef=case["entropy_coefficient"],
        vf_coef=case["value_coefficient"],
        max_grad_norm=case["max_grad_norm"],
        normalize_observations=case["normalise_observations"],
        normalize_rewards=case["scale_rewards"],
        total_timesteps=case["steps"],
        eval_freq=case["steps"],
        skip_initial_evaluation=True,
    )
    env, env_params = algorithm.env, algorithm.env_params
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: jnp.zeros(()))

    def greedy(state, obs):
        if algorithm.normalize_observations:
            obs = algorithm.normalize_obs(state.obs_rms_state, obs)
        action = algorithm.actor.apply(state.actor_ts.params, obs[None], method="_action_dist").mode()[0]
        return action if algorithm.discrete else jnp.clip(action, *algorithm.actor.action_range)

    def episode(state, key):
        reset_key, key = jax.random.split(key)
        obs, env_state = env.reset(reset_key, env_params)

        def step(carry, key):
            obs, env_state, running, total = carry
            obs, env_state, reward, done, _ = env.step(key, env_state, greedy(state, obs), env_params)
            total = total + running * jnp.squeeze(reward)
            return (obs, env_state, running * (1 - done), total), None

        keys = jax.random.split(key, env_params.max_steps_in_episode)
        (_, _, _, total), _ = jax.lax.scan(step, (obs, env_state, jnp.float32(1), jnp.float32(0)), keys)
        return total

    def member(key):
        state, _ = algorithm.train(key)
        return jax.vmap(episode, in_axes=(None, 0))(
            state, jax.random.split(jax.random.fold_in(key, 1), EPISODES)
        ).mean()

    keys = jax.random.split(jax.random.key(0), case["seeds"])
    print(json.dumps({"returns": jax.jit(jax.vmap(member))(keys).tolist()}))


if __name__ == "__main__":
    main()
