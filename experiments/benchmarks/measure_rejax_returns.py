"""Returns that Rejax reaches, for the tables of returns: prints a JSON line. Runs in Rejax's environment."""

import json
import sys

from experiments.benchmarks.rejax_algorithms import create

EPISODES = 16


def main() -> None:
    """Trains the case in ``argv[1]`` and judges every seed by greedy episodes."""
    import jax
    import jax.numpy as jnp

    case = json.loads(sys.argv[1])
    algorithm = create(case, case["steps"])
    env, env_params = algorithm.env, algorithm.env_params

    def ppo(state, obs):
        action = algorithm.actor.apply(state.actor_ts.params, obs[None], method="_action_dist").mode()[0]
        return action if algorithm.discrete else jnp.clip(action, *algorithm.actor.action_range)

    def dqn(state, obs):
        return jnp.argmax(algorithm.agent.apply(state.q_ts.params, obs[None])[0])

    def sac(state, obs):
        mean = algorithm.actor.apply(state.actor_ts.params, obs[None], method="_action_dist").mode()[0]
        return (
            mean if algorithm.discrete else jnp.tanh(mean) * algorithm.actor.action_scale + algorithm.actor.action_loc
        )

    def td3(state, obs):
        return algorithm.actor.apply(state.actor_ts.params, obs[None])[0]

    greedy = {"PPO": ppo, "DQN": dqn, "SAC": sac, "TD3": td3}[case["algorithm"]]

    def episode(state, key):
        reset_key, key = jax.random.split(key)
        obs, env_state = env.reset(reset_key, env_params)

        def step(carry, key):
            obs, env_state, running, total = carry
            seen = algorithm.normalize_obs(state.obs_rms_state, obs) if algorithm.normalize_observations else obs
            obs, env_state, reward, done, _ = env.step(key, env_state, greedy(state, seen), env_params)
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
