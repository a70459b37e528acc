"""One measurement of the reference implementation of HDPO (PyTorch) for ``hdpo_speed``: prints a JSON line.

Runs in the peer's environment, in a checkout of the reference repository, and uses its own trainer.
"""

import contextlib
import json
import os
import sys
import time
from collections import defaultdict


def main() -> None:
    """Trains the case in ``argv[1]`` for some epochs of one batch each, the first of which does not count."""
    case = json.loads(sys.argv[1])
    os.chdir(case["checkout"])
    sys.path.insert(0, case["checkout"])
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(case)
    print(json.dumps(measured))


def measure(case: dict) -> dict:
    import torch
    import yaml
    from data_handling import DatasetCreator, Scenario
    from environment import Simulator
    from loss_functions import PolicyLoss
    from neural_networks import NeuralNetworkCreator
    from torch.utils.data import DataLoader
    from trainer import Trainer

    def read(folder, name):
        with open(f"config_files/{folder}/{name}.yml") as file:
            return yaml.safe_load(file)

    setting, method = read("settings", case["alvo_setting"]), read("policies_and_hyperparams", case["alvo_policy"])
    problem = setting["problem_params"]
    observation = defaultdict(lambda: None, setting["observation_params"])
    scenario = Scenario(
        case["horizon"],
        problem,
        setting["store_params"],
        setting["warehouse_params"],
        setting["echelon_params"],
        2 * case["batch_size"],  # it splits off as many for development
        observation,
        setting["seeds"],
    )
    training, _ = DatasetCreator().create_datasets(
        scenario, split=True, by_sample_indexes=True, sample_index_for_split=case["batch_size"]
    )
    loader = DataLoader(training, batch_size=case["batch_size"], shuffle=True)
    model = NeuralNetworkCreator().create_neural_network(scenario, method["nn_params"], device="cpu")
    optimiser = torch.optim.Adam(model.parameters(), lr=method["optimizer_params"]["learning_rate"])
    trainer, simulator, loss = Trainer(device="cpu"), Simulator(device="cpu"), PolicyLoss()

    def epoch():
        trainer.do_one_epoch(optimiser, loader, loss, simulator, model, case["horizon"], problem, observation)

    epoch()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(case["alvo_epochs"]):
        epoch()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    store_periods = case["alvo_epochs"] * case["batch_size"] * case["horizon"] * problem["n_stores"]
    return {
        "store_periods_per_second": store_periods / wall,
        "store_periods_per_processor_second": store_periods / processor,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
