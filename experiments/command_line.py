"""What the command lines share: options and presets, errors in one line, and the devices set up in time.

jax is imported late and the algorithms later still: a mistyped option is answered at once, and the CPU cores become
devices before anything uses them.
"""

import ast
import contextlib
import dataclasses
import importlib
import io
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_type_hints

import tyro

from jaxrl.errors import InvalidArgument, UserError, unknown

ALGORITHMS = {
    "bq": "jaxrl.algorithms.bq:BQ",
    "dppo": "jaxrl.algorithms.dppo:DPPO",
    "dql": "jaxrl.algorithms.dql:DQL",
    "dqn": "jaxrl.algorithms.dqn:DQN",
    "expo": "jaxrl.algorithms.expo:EXPO",
    "fpo": "jaxrl.algorithms.fpo:FPO",
    "fql": "jaxrl.algorithms.fql:FQL",
    "gorl": "jaxrl.algorithms.gorl:GoRL",
    "gorl-sac": "jaxrl.algorithms.gorl:GoRLSAC",
    "hdpo": "jaxrl.algorithms.hdpo:HDPO",
    "idql": "jaxrl.algorithms.idql:IDQL",
    "mdpo": "jaxrl.algorithms.mdpo:MDPO",
    "pmoe": "jaxrl.algorithms.pmoe:PMOE",
    "pmoe-ppo": "jaxrl.algorithms.pmoe:PMOEPPO",
    "pomo": "jaxrl.algorithms.pomo:POMO",
    "ppo": "jaxrl.algorithms.ppo:PPO",
    "pqn": "jaxrl.algorithms.pqn:PQN",
    "qsm": "jaxrl.algorithms.qsm:QSM",
    "sac": "jaxrl.algorithms.sac:SAC",
    "soft-mdpo": "jaxrl.algorithms.mdpo:SoftMDPO",
    "td3": "jaxrl.algorithms.td3:TD3",
    "trpo": "jaxrl.algorithms.trpo:TRPO",
    "reinforce": "jaxrl.algorithms.reinforce:REINFORCE",
    "value-iteration": "jaxrl.algorithms.value_iteration:ValueIteration",
}
"""name on the command line: where its dataclass is"""

GOES_ON = "stopped; the same command goes on from the last checkpoint"

PRESETS = Path(__file__).parent / "presets"


def whole_number(text: str) -> int:
    """``500000``, ``500_000`` or ``5e5``."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(f"{text} is not a whole number") from None
        return int(number)


def or_none(metavar: str) -> Any:
    """How ``--help`` shows an option whose default the text explains."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Whole = Annotated[
    int | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda args: whole_number(args[0]),
        is_instance=lambda instance: instance is None or isinstance(instance, int),
        str_from_instance=lambda instance: [str(instance)],
    ),
    or_none("INT"),
]


@dataclass(frozen=True)
class Run:
    """What is trained, for how long, and where it is kept."""

    env: Annotated[str, tyro.conf.arg(metavar="ID", help_behavior_hint="(required)")] = ""
    """Environment: CartPole-v1, brax/hopper, ...; an unknown name is answered with the nearest ones."""
    env_settings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...", help_behavior_hint="")] = ()
    """Settings of the environment as key=value: backend=spring max_steps_in_episode=200."""
    seeds: str = "1"
    """How many seeds are trained at once, or which: 256, or 3,7,9."""
    steps: Whole = None
    """Environment steps of each seed; the preset's by default."""
    evaluate_every: Whole = None
    """Environment steps between evaluations; a tenth of the run by default, 0 for never."""
    evaluation_episodes: int = 16
    """Greedy episodes of each seed at each evaluation."""
    evaluation_batch: Annotated[int | None, or_none("INT")] = None
    """How many of these run at once; all by default."""
    directory: Annotated[Path | None, or_none("PATH")] = None
    """Where the run is kept, runs/ALGORITHM-ENVIRONMENT by default. The same command goes on from what is there."""
    overwrite: bool = False
    """Delete the run that the directory holds."""
    preset: Annotated[str | None, or_none("NAME")] = None
    """Hyperparameters to start from, such as ppo/CartPole-v1; other options win over it. By default the preset of this
    algorithm and environment if there is one; none for the bare defaults."""
    tile: Annotated[int | None, or_none("INT")] = None
    """Seeds that each device trains in one call; by default from the memory there is."""
    cores: Annotated[int | None, or_none("INT")] = None
    """CPU cores to use; all by default."""
    coordinator: Annotated[str | None, or_none("HOST:PORT")] = None
    """Train on several machines: where the first process listens; auto takes it, with the next two, from what SLURM,
    Open MPI, Kubernetes or a TPU pod set."""
    num_processes: Annotated[int | None, or_none("INT")] = None
    """How many processes train together; each has its own members and writes their rows."""
    process_id: Annotated[int | None, or_none("INT")] = None
    """Which of them this is, from 0."""
    coordinator_timeout: int = 300
    """Seconds to wait for the others."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints; there is always one at the end."""
    tensorboard: bool = False
    """Write TensorBoard scalars too, into the run's directory."""
    wandb: Annotated[str | None, or_none("PROJECT")] = None
    """Send them to this project of Weights & Biases too."""
    cache: bool = True
    """Keep compiled programs in ~/.cache/jaxrl, so that the next run of this kind starts at once."""

    def check(self) -> None:
        """Raises InvalidArgument for options that are missing or at odds, before jax is imported."""
        if not self.env:
            raise InvalidArgument("env", self.env, "must be given, such as --env CartPole-v1")
        if self.coordinator is None and not (self.num_processes is None and self.process_id is None):
            raise InvalidArgument("coordinator", None, "must be given with num_processes and process_id")

    def at_once(self, seeds: int) -> int | None:
        """How many members are trained at once, None if that is not known before the algorithm is."""
        return seeds


@dataclass(frozen=True)
class Preset:
    """One file ``presets/<algorithm>/<environment>.toml``, checked key by key."""

    name: str
    steps: int | None
    env_settings: dict[str, Any]
    hyperparameters: dict[str, Any]


def exit_code(command: Callable[[list[str]], int], argv: Sequence[str] | None, stopped: str = "stopped") -> int:
    """Runs a command on arguments, ``sys.argv`` by default: 0, 2 for what the user can mend, 130 for Ctrl-C."""
    try:
        return command(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except SystemExit as done:  # tyro has printed the help
        return int(done.code or 0)


# --- what the arguments mean ------------------------------------------------------------------------------------


def parse(kind: Any, arguments: list[str], default: Any = None, **settings: Any) -> tuple[Any, list[str]]:
    """An instance of a dataclass from command line arguments, and the arguments that are not its own.

    Args:
        default: instance whose values are kept where no argument says otherwise.
        settings: of ``tyro.cli``.

    Raises:
        UserError: in one line, what tyro shows in a box.
    """
    shown = io.StringIO()
    settings |= {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(kind, args=arguments, return_unknown_args=True, **settings)
    except SystemExit:
        raise UserError(one_line(shown.getvalue())) from None


def one_line(box: str) -> str:
    """The message of a box that tyro draws: what stands between its title and its next rule."""
    lines = [line.strip(" │") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    rules = [index for index, line in enumerate(lines) if line.startswith(("╭─", "╰─", "──", "--"))]
    rules = [index for index in rules if not re.match("--[a-z]", lines[index])]
    body = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    return " ".join(filter(None, body)).removeprefix("Error parsing ").split(" Got errors:")[0]


def configure(algorithm: str, preset: Preset, arguments: list[str], kind: Any = Run) -> Any:
    """The algorithm's dataclass: its defaults, then the preset's values, then those of the command line."""
    config = with_preset(algorithm_class(algorithm), preset)
    fields = [field.name for field in dataclasses.fields(config)]
    config, left = parse(type(config), arguments, config)
    options = [*fields, *(f.name for f in dataclasses.fields(kind))]
    options += [f"no-{f.name}" for f in dataclasses.fields(type(config)) if f.type is bool]
    refuse(left, options)
    return config


def refuse(arguments: list[str], names: Iterable[str]) -> None:
    """Raises UserError if arguments are left that nobody took, with the nearest options by these names."""
    if not arguments:
        return
    flags = [argument for argument in arguments if argument.startswith("-")]
    if not flags:
        raise UserError(f"{' '.join(arguments)}: not an option; options start with --")
    raise unknown("option", flags[0].split("=")[0], [f"--{name.replace('_', '-')}" for name in names])


def parse_all(kind: Any, arguments: list[str], prog: str) -> Any:
    """An instance of a dataclass from all arguments of a command line; ``--help`` prints its options and exits.

    Raises:
        UserError: for arguments that do not fit, in one line.
    """
    if "-h" in arguments or "--help" in arguments:
        tyro.cli(kind, args=["--help"], prog=f"python -m {prog}")
    parsed, left = parse(kind, arguments, prog=prog)
    refuse(left, [field.name for field in dataclasses.fields(kind)])
    return parsed


def algorithm_class(algorithm: str) -> Any:
    module, name = ALGORITHMS[algorithm].split(":")
    return getattr(importlib.import_module(module), name)


def parse_seeds(text: str) -> int | list[int]:
    """``"256"`` is a number of seeds, ``"3,7,9"`` (or ``"3,"``) are the seeds themselves."""
    try:
        if "," in text:
            return [whole_number(part) for part in text.split(",") if part.strip()]
        return whole_number(text)
    except ValueError:
        raise InvalidArgument("seeds", text, "must be a number such as 256 or a list such as 3,7,9") from None


def parse_settings(settings: Sequence[str], argument: str = "env_settings") -> dict[str, Any]:
    """``["backend=spring", "max_steps_in_episode=200"]`` as a dict; what is no Python literal is text."""
    parsed = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise InvalidArgument(argument, setting, "must be key=value, such as backend=spring")
        try:
            parsed[name.replace("-", "_")] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed[name.replace("-", "_")] = {"true": True, "false": False}.get(value, value)
    return parsed


# --- presets ----------------------------------------------------------------------------------------------------


def preset_names(algorithm: str = "*") -> list[str]:
    return sorted(str(p.relative_to(PRESETS).with_suffix("")) for p in PRESETS.glob(f"{algorithm}/**/*.toml"))


def find_preset(algorithm: str, env: str, name: str | None) -> Preset:
    """The preset asked for, else the one of the algorithm and the environment, else that of the environment's family
    (``sac/brax`` of ``brax/ant``), else an empty one named ``none``.

    Raises:
        UserError: for an unknown preset, or one that cannot be read.
    """
    known = preset_names(algorithm)
    if name is None:
        wanted = PurePosixPath(algorithm, env)
        name = next((str(one) for one in (wanted, *wanted.parents) if str(one) in known), "none")
    if name == "none":
        return Preset("none", None, {}, {})
    if name not in known:
        raise unknown("preset", name, [*known, "none"])
    return load_preset(name)


def load_preset(name: str) -> Preset:
    """Reads ``presets/<name>.toml``: ``steps``, ``[env_settings]`` and ``[hyperparameters]``, all optional."""
    try:
        content = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"preset={name!r}: cannot be read ({error})") from error
    keys = ("steps", "env_settings", "hyperparameters")
    for key in content:
        if key not in keys:
            raise UserError(f"preset={name!r}: {unknown('key', key, keys)}")
    return Preset(name, content.get("steps"), content.get("env_settings", {}), content.get("hyperparameters", {}))


def with_preset(algorithm: Any, preset: Preset) -> Any:
    """An instance of an algorithm's dataclass with the preset's values.

    Raises:
        UserError: naming the preset and the key that is no hyperparameter, or whose value is of another type.
    """
    kinds = get_type_hints(algorithm)
    fields = [field.name for field in dataclasses.fields(algorithm)]
    values = {}
    for key, value in preset.hyperparameters.items():
        if key not in fields:
            raise UserError(f"preset={preset.name!r}: {unknown('hyperparameter', key, fields)}")
        words = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        if kinds[key] is bool:
            words = [] if isinstance(value, bool) else words
            argument = f"--{'' if value else 'no-'}{key}"
        else:
            argument = f"--{key}"
        try:
            parsed, left = parse(algorithm, [argument.replace("_", "-"), *words])
        except UserError as error:
            raise UserError(f"preset={preset.name!r}: {error}") from error
        if left:
            raise UserError(f"preset={preset.name!r}: {key}={value!r} is not of the type of {key}")
        values[key] = getattr(parsed, key)
    return algorithm(**values)


# --- around the training ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A command line understood: nothing in it is known to be wrong, and jax has its devices."""

    algorithm: str
    run: Any
    preset: Preset
    config: Any
    env_settings: dict[str, Any]
    seeds: int | list[int]
    directory: Path

    @property
    def steps(self) -> int:
        """Environment steps of each seed; InvalidArgument if neither the options nor the preset say."""
        steps = self.preset.steps if self.run.steps is None else self.run.steps
        if steps is None:
            from jaxrl.envs.registry import documentation

            documentation(self.run.env)  # an environment that is not there is the mistake to name
            allowed = f"must be given: there is no preset for {self.run.env} to take it from"
            raise InvalidArgument("steps", None, allowed)
        return steps

    def training(self) -> dict[str, Any]:
        """Arguments of ``jaxrl.train`` beside config and environment."""
        run = self.run
        return {
            "env_settings": self.env_settings,
            "seeds": self.seeds,
            "steps": self.steps,
            "evaluate_every": run.evaluate_every,
            "evaluation_episodes": run.evaluation_episodes,
            "evaluation_batch": run.evaluation_batch,
            "directory": self.directory,
            "overwrite": run.overwrite,
            "checkpoint_seconds": run.checkpoint_seconds,
            "tile": run.tile,
        }


def understand(command: str, kind: Any, argv: list[str]) -> Request | None:
    """What ``python -m experiments.<command> ALGORITHM ...`` asks for, or None if it was help, which has been printed.

    Args:
        kind: ``Run``, or a dataclass with more options than that.

    Raises:
        UserError: for whatever the user can mend.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(command))
        return None
    algorithm, arguments = argv[0], argv[1:]
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    if "-h" in arguments or "--help" in arguments:
        show_help(command, kind, algorithm, [a for a in arguments if a not in ("-h", "--help")])
        return None
    run, hyperparameters = parse(kind, arguments)
    run.check()
    preset = find_preset(algorithm, run.env, run.preset)
    seeds, env_settings = parse_seeds(run.seeds), preset.env_settings | parse_settings(run.env_settings)
    prepare_jax(run, run.at_once(seeds if isinstance(seeds, int) else len(seeds)))
    config = configure(algorithm, preset, hyperparameters, kind)
    directory = run.directory or Path("runs") / "-".join(
        [algorithm, run.env.replace("/", "-"), *([] if command == "train" else [command])]
    )
    return Request(algorithm, run, preset, config, env_settings, seeds, directory)


def usage(command: str) -> str:
    lines = [f"usage: python -m experiments.{command} ALGORITHM --env ENVIRONMENT [options]", "", "algorithms:"]
    lines += [f"  {name}  its options and hyperparameters: {name} --help" for name in ALGORITHMS]
    lines += ["", "presets:", *(f"  {name}" for name in preset_names())]
    return "\n".join(lines)


def show_help(command: str, kind: Any, algorithm: str, arguments: list[str]) -> None:
    """Prints every option; the defaults are those of the preset that the arguments choose."""
    try:
        run, _ = parse(kind, arguments)
        preset = find_preset(algorithm, run.env, run.preset)
    except UserError:
        preset = Preset("none", None, {}, {})
    config = with_preset(algorithm_class(algorithm), preset)
    both = dataclasses.make_dataclass(
        "both",
        [
            ("run", tyro.conf.OmitArgPrefixes[kind]),
            ("hyperparameter", tyro.conf.OmitArgPrefixes[type(config)], dataclasses.field(default=config)),
        ],
    )
    chosen = "" if preset.name == "none" else f" The defaults are those of the preset {preset.name}."
    with contextlib.suppress(SystemExit):
        tyro.cli(
            both,
            args=["--help"],
            prog=f"python -m experiments.{command} {algorithm}",
            description=f"{type(config).__doc__}{chosen}",
        )


def prepare_jax(run: Run, members: int | None) -> None:
    """Sets up devices and cache; must come before anything that imports gymnax, as algorithms do.

    Args:
        members: how many are trained at once, if that is known.
    """
    from jaxrl.compilation_cache import use_compilation_cache
    from jaxrl.devices import join_processes, use_all_cores

    if run.cache:
        use_compilation_cache()
    if run.coordinator is not None:
        join_processes(run.coordinator, run.num_processes, run.process_id, run.coordinator_timeout)
        members = None
    try:
        use_all_cores(run.cores, members)
    except InvalidArgument:
        raise
    except UserError:
        if run.cores is not None:  # else whoever called from Python has chosen the devices
            raise


def sinks(request: Request) -> list[Any]:
    """Who is told how the training goes."""
    import jax

    from jaxrl.engine.sinks import Progress, TensorBoard, WeightsAndBiases

    if jax.process_index() > 0:
        return []
    told: list[Any] = [Progress()]
    if request.run.tensorboard:
        told.append(TensorBoard(request.directory / "tensorboard"))
    if request.run.wandb is not None:
        told.append(WeightsAndBiases(project=request.run.wandb, name=request.directory.name))
    return told
