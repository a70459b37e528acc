"""Message passing against plain loops, and what renumbering does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.networks.graph import MessagePassing

KEY = jax.random.key(0)
SIZES, WIDTH = (5, 4), 3
# a graph with a loop, an edge from nowhere, an edge to nowhere and a node that nothing enters; 4 stands for nowhere
SOURCES = np.array([0, 0, 1, 4, 2, 1])
TARGETS = np.array([1, 2, 2, 1, 4, 1])


def inputs(nodes, edges, leading=(), seed=0):
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=(*leading, nodes, 2)).astype(np.float32),
        generator.normal(size=(*leading, edges, 1)).astype(np.float32),
    )


@pytest.fixture(scope="module", params=[1, 2, 3])
def network(request):
    """The module, its parameters and its compiled application."""
    module = MessagePassing(steps=request.param, sizes=SIZES, width=WIDTH)
    params = jax.jit(lambda *features: module.init(KEY, *features, SOURCES, TARGETS))(*inputs(4, 6))
    # larger than they start, so that no term is next to nothing
    return module, jax.tree.map(lambda leaf: 2 * np.asarray(leaf), params)


def apply(module, params, nodes, edges, sources=SOURCES, targets=TARGETS):
    """Compiled, which is faster than one operation after another even once."""
    return jax.jit(lambda *arguments: module.apply(*arguments, sources, targets))(params, nodes, edges)


def dense_layers(params):
    """Kernels and biases of the four networks, in the order in which they are first used."""
    params = params["params"]
    assert sorted(params) == sorted([f"{name}_{i}" for i in range(4) for name in ("MLP", "FanInDense")])
    networks = []
    for i in range(4):
        hidden = params[f"MLP_{i}"]
        layers = [*(hidden[f"FanInDense_{j}"] for j in range(len(SIZES))), params[f"FanInDense_{i}"]]
        networks.append([(np.float64(layer["Dense_0"]["kernel"]), np.float64(layer["Dense_0"]["bias"]))
                         for layer in layers])  # fmt: skip
    return networks


def reference(params, nodes, edges, sources, targets, steps):
    """Embeddings by loops over nodes and edges in double precision."""

    def network(layers, x):
        for kernel, bias in layers:
            x = x @ kernel + bias
            x = np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
        return x

    embed_node, embed_edge, update_node, update_edge = dense_layers(params)
    v = [network(embed_node, np.float64(node)) for node in nodes]

    def end(number):
        return v[number] if number < len(nodes) else np.zeros(WIDTH)

    pairs = list(zip(sources, targets))
    e = [network(embed_edge, np.concatenate([end(s), end(t), edge])) for (s, t), edge in zip(pairs, edges)]
    for _ in range(steps):
        new = []
        for number, own in enumerate(v):
            incoming = [e[i] for i, (_, t) in enumerate(pairs) if t == number]
            outgoing = [e[i] for i, (s, _) in enumerate(pairs) if s == number]
            sums = [sum(part, np.zeros(WIDTH)) / np.sqrt(max(len(part), 1)) for part in (incoming, outgoing)]
            new.append(own + network(update_node, np.concatenate([own, *sums])))
        v = new
        e = [x + network(update_edge, np.concatenate([x, end(s), end(t)])) for (s, t), x in zip(pairs, e)]
    return np.stack(v), np.stack(e)


def test_it_is_what_its_docstring_says(network):
    module, params = network
    nodes, edges = inputs(4, 6)
    got = apply(module, params, nodes, edges)
    for ours, expected in zip(got, reference(params, nodes, edges, SOURCES, TARGETS, module.steps)):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_leading_axes_are_a_batch(network):
    module, params = network
    nodes, edges = inputs(4, 6, (2, 3))
    many = apply(module, params, nodes, edges)
    one = apply(module, params, nodes[1, 2], edges[1, 2])
    assert [part.shape for part in many] == [(2, 3, 4, WIDTH), (2, 3, 6, WIDTH)]
    for part, alone in zip(many, one):
        np.testing.assert_allclose(part[1, 2], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_renumbering_nodes_and_edges_renumbers_the_embeddings(network, seed):
    module, params = network
    nodes, edges = inputs(4, 6, seed=seed)
    generator = np.random.default_rng(seed)
    place, order = generator.permutation(4), generator.permutation(6)  # node i becomes place[i]; edges in that order
    renumbered = np.append(place, 4)
    moved = np.empty_like(nodes)
    moved[place] = nodes
    v, e = apply(module, params, nodes, edges)
    ends = (renumbered[ends[order]] for ends in (SOURCES, TARGETS))
    v_moved, e_moved = apply(module, params, moved, edges[order], *ends)
    np.testing.assert_allclose(v_moved[place], v, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(e_moved, e[order], rtol=1e-4, atol=1e-5)


def test_the_parameters_fit_any_graph_and_any_number_of_steps(network, trees):
    """So the policy of a chain of three serves one of five as well."""
    params = network[1]
    deeper = MessagePassing(steps=5, sizes=SIZES, width=WIDTH)
    nodes, edges = inputs(2, 3)
    sources, targets = np.array([2, 0, 1]), np.array([0, 1, 2])
    got = apply(deeper, params, nodes, edges, sources, targets)
    for ours, expected in zip(got, reference(params, nodes, edges, sources, targets, 5)):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)
    trees.equal(
        jax.tree.map(jnp.shape, jax.eval_shape(lambda: deeper.init(KEY, nodes, edges, sources, targets))),
        jax.tree.map(jnp.shape, params),
    )


def test_messages_go_as_far_as_there_are_steps():
    """Along a chain of five, what the last node holds is felt four nodes off after four steps, not after three."""
    sources, targets = np.arange(4), np.arange(1, 5)
    nodes, edges = inputs(5, 4)
    for steps, felt in ((3, False), (4, True)):
        module = MessagePassing(steps=steps, sizes=(), width=WIDTH)

        def first(x):
            params = module.init(KEY, x, edges, sources, targets)  # noqa: B023
            return module.apply(params, x, edges, sources, targets)[0][0].sum()  # noqa: B023

        assert (np.abs(jax.jit(jax.grad(first))(nodes)[4]).max() > 0) == felt
