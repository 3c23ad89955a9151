"""The methods Kibitz knows, one line each, and what their settings may be.

Imports no torch: the web reads a method's `Config` from the file's syntax tree, so that the form, the
command line and the child process agree without any of them loading the method.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bounds:
    """The numbers a setting may take: from `low` (itself excluded when `above`) to `high` (excluded when `below`)."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False


# What a method's Config says a number may be. `fields` below reads these names from the source.
Positive = Annotated[float, Bounds(low=0, above=True)]
NonNegative = Annotated[float, Bounds(low=0)]
Share = Annotated[float, Bounds(low=0, high=1)]
Part = Annotated[float, Bounds(low=0, high=1, below=True)]
Minority = Annotated[float, Bounds(low=0, high=0.49)]
Count = Annotated[int, Bounds(low=1)]
Several = Annotated[int, Bounds(low=2)]
Whole = Annotated[int, Bounds(low=0)]

TYPES: dict[str, tuple[str, Bounds]] = {
    **{plain: (plain, Bounds()) for plain in ("float", "int", "str", "bool")},
    **{
        name: (get_args(alias)[0].__name__, get_args(alias)[1])
        for name, alias in [
            ("Positive", Positive),
            ("NonNegative", NonNegative),
            ("Share", Share),
            ("Part", Part),
            ("Minority", Minority),
            ("Count", Count),
            ("Several", Several),
            ("Whole", Whole),
        ]
    },
}


@dataclass(frozen=True)
class Entry:
    """A training method: where it lives, what it learns from, what it needs and what it makes."""

    module: str
    title: str
    family: str
    produces: str
    """The kind of artifact: policy, reward_model or items."""
    reads: tuple[str, ...] = ()
    """The kinds of record it can learn from; any one of them is enough."""
    inputs: tuple[str, ...] = ()
    """The roles of earlier models that it cannot do without."""
    optional_inputs: tuple[str, ...] = ()
    knobs: tuple[str, ...] = ("lr",)
    """The settings that may be changed while it runs."""
    made_as: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role -> the kinds of model, as trainers/nn/storage.py names them, that will do in it, where not all will."""
    live: bool = False
    """Whether it asks people while it runs and takes their labels in; it may then begin with none."""

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU whatever device is asked for: a robot's worlds are there, and its networks are too
        small to gain from a GPU."""
        return "robot_policy" in (self.produces, *self.inputs) or self.reads == ("clip_pair",)

    @property
    def alone(self) -> str:
        """Why it runs in one process; "" where several can share its gradients out."""
        if self.family in ALONE:
            return "trains nothing that could be shared out"
        if self.on_cpu:
            return "trains networks too small to be shared out"
        return ""

    @property
    def exact(self) -> str:
        """Why nothing but single precision will do; "" where its models may read in bfloat16, since they read answers
        that are given."""
        if self.on_cpu:
            return "the networks of robots and of clips are too small to gain from bfloat16"
        if self.family in ALONE:
            return "it trains nothing, and compares what models say of answers that it has just sampled"
        if self.family not in ("reward", "direct", "correction"):
            return "it samples while it trains, and with eight bits the log-probabilities of both would not agree"
        return ""


ENSEMBLE = ("ensemble_reward",)
"""Who alone can differ with itself, and so say what is worth asking."""
MAKERS = {
    "ensemble_reward": "reward/ensemble",
    "clip_reward": "reward/clip_preferences",
    "gaussian": "control/ppo or control/preference_ppo",
    "direct_policy": "control/dagger",
    "motion_policy": "control/rt_h_base",
    "yay_robot": "control/bc",
}
"""Kind of model -> the methods that make one, to be named where one is missing."""
PROMPTS = ("pair", "ranking", "rating", "correction", "demonstration")
"""The kinds of record whose prompts are asked by methods that draw answers of their own, whatever was said of them."""

METHODS: dict[str, Entry] = {
    "reward/bradley_terry": Entry(
        "trainers.methods.reward.bradley_terry",
        "Bradley-Terry reward model",
        "reward",
        "reward_model",
        reads=("pair", "ranking", "correction"),
        optional_inputs=("policy",),
    ),
    "reward/plackett_luce": Entry(
        "trainers.methods.reward.plackett_luce",
        "Plackett-Luce reward model",
        "reward",
        "reward_model",
        reads=("ranking", "pair"),
        optional_inputs=("policy",),
    ),
    "reward/ordinal": Entry(
        "trainers.methods.reward.ordinal",
        "Ordinal reward model",
        "reward",
        "reward_model",
        reads=("rating",),
        optional_inputs=("policy",),
    ),
    "reward/ensemble": Entry(
        "trainers.methods.reward.ensemble",
        "Reward ensemble",
        "reward",
        "reward_model",
        reads=("pair", "ranking", "correction"),
        optional_inputs=("policy",),
    ),
    "direct/dpo": Entry(
        "trainers.methods.direct.dpo",
        "DPO: direct preference optimization",
        "direct",
        "policy",
        reads=("pair", "ranking", "correction"),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "direct/ipo": Entry(
        "trainers.methods.direct.ipo",
        "IPO: identity preference optimization",
        "direct",
        "policy",
        reads=("pair", "ranking", "correction"),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "direct/cdpo": Entry(
        "trainers.methods.direct.cdpo",
        "cDPO, robust: DPO with a share of wrong labels",
        "direct",
        "policy",
        reads=("pair", "ranking", "correction"),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "direct/kto": Entry(
        "trainers.methods.direct.kto",
        "KTO: Kahneman-Tversky optimization",
        "direct",
        "policy",
        reads=("rating", "pair", "correction"),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "direct/simpo": Entry(
        "trainers.methods.direct.simpo",
        "SimPO: simple preference optimization",
        "direct",
        "policy",
        reads=("pair", "ranking", "correction"),
        inputs=("policy",),
    ),
    "direct/orpo": Entry(
        "trainers.methods.direct.orpo",
        "ORPO: odds ratio preference optimization",
        "direct",
        "policy",
        reads=("pair", "ranking", "correction"),
        inputs=("policy",),
    ),
    "correction/sft": Entry(
        "trainers.methods.correction.sft",
        "Supervised fine-tuning",
        "correction",
        "policy",
        reads=("pair", "correction", "demonstration"),
        inputs=("policy",),
    ),
    "correction/edits": Entry(
        "trainers.methods.correction.edits",
        "Edits as preferences",
        "correction",
        "policy",
        reads=("correction",),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "correction/edits_masked": Entry(
        "trainers.methods.correction.edits_masked",
        "Edits as preferences, changed tokens only",
        "correction",
        "policy",
        reads=("correction",),
        inputs=("policy",),
        optional_inputs=("reference",),
    ),
    "control/bc": Entry(
        "trainers.methods.control.bc",
        "Behaviour cloning of a robot with two levels",
        "control",
        "robot_policy",
        reads=("drive",),
        knobs=("lr", "high_lr"),
    ),
    "correction/yay": Entry(
        "trainers.methods.correction.yay",
        "YAY Robot: learning from what people tell it while it works",
        "correction",
        "robot_policy",
        reads=("language_correction", "drive"),
        inputs=("robot_policy",),
        made_as={"robot_policy": ("yay_robot",)},
    ),
    "control/dagger": Entry(
        "trainers.methods.control.dagger",
        "DAgger: what an expert would have done where the robot came to",
        "control",
        "robot_policy",
        reads=("drive",),
        optional_inputs=("robot_policy",),
        made_as={"robot_policy": ("direct_policy",)},
    ),
    "control/rt_h_base": Entry(
        "trainers.methods.control.rt_h_base",
        "RT-H: phrases about motions, and actions by them",
        "control",
        "robot_policy",
        reads=("drive",),
    ),
    "correction/rt_h": Entry(
        "trainers.methods.correction.rt_h",
        "RT-H: learning from what people say about motions",
        "correction",
        "robot_policy",
        reads=("language_correction",),
        inputs=("robot_policy",),
        made_as={"robot_policy": ("motion_policy",)},
    ),
    "online/rloo": Entry(
        "trainers.methods.online.rloo",
        "RLOO: REINFORCE leave-one-out",
        "online",
        "policy",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("reference",),
        knobs=("lr", "kl_coef"),
    ),
    "search/best_of_n": Entry(
        "trainers.methods.search.best_of_n",
        "Best of n",
        "search",
        "items",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        knobs=(),
    ),
    "online/reinforce": Entry(
        "trainers.methods.online.reinforce",
        "REINFORCE with a moving-average baseline",
        "online",
        "policy",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("reference",),
        knobs=("lr", "kl_coef"),
    ),
    "online/grpo": Entry(
        "trainers.methods.online.grpo",
        "GRPO: group relative policy optimization",
        "online",
        "policy",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("reference",),
        knobs=("lr", "kl_coef"),
    ),
    "online/ppo": Entry(
        "trainers.methods.online.ppo",
        "PPO-max: proximal policy optimization",
        "online",
        "policy",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("reference",),
        knobs=("lr", "kl_coef"),
    ),
    "online/p3o": Entry(
        "trainers.methods.online.p3o",
        "P3O: pairwise proximal policy optimization",
        "online",
        "policy",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("reference",),
        knobs=("lr", "kl_coef"),
    ),
    "query/disagreement": Entry(
        "trainers.methods.query.disagreement",
        "Disputed comparisons",
        "query",
        "items",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("rival",),
        knobs=(),
        made_as={"reward_model": ENSEMBLE},
    ),
    "query/information": Entry(
        "trainers.methods.query.information",
        "Most informative comparisons",
        "query",
        "items",
        reads=PROMPTS,
        inputs=("policy", "reward_model"),
        optional_inputs=("rival",),
        knobs=(),
        made_as={"reward_model": ENSEMBLE},
    ),
    "query/random": Entry(
        "trainers.methods.query.random",
        "Random comparisons",
        "query",
        "items",
        reads=PROMPTS,
        inputs=("policy",),
        optional_inputs=("rival",),
        knobs=(),
    ),
    "query/clips": Entry(
        "trainers.methods.query.clips",
        "Disputed clips",
        "query",
        "items",
        inputs=("robot_policy",),
        optional_inputs=("reward_model",),
        knobs=(),
        made_as={"robot_policy": ("gaussian",), "reward_model": ("clip_reward",)},
    ),
    "reward/clip_preferences": Entry(
        "trainers.methods.reward.clip_preferences",
        "Rewards from comparisons of clips",
        "reward",
        "reward_model",
        reads=("clip_pair",),
    ),
    "control/ppo": Entry(
        "trainers.methods.control.ppo",
        "PPO in a world",
        "control",
        "robot_policy",
        optional_inputs=("reward_model",),
        made_as={"reward_model": ("clip_reward",)},
    ),
    "control/preference_ppo": Entry(
        "trainers.methods.control.preference_ppo",
        "PPO from preferences, while people label",
        "control",
        "robot_policy",
        reads=("clip_pair",),
        live=True,
    ),
}


ALONE = ("query", "search")
"""Families whose methods train nothing: there are no gradients that several processes could share out."""

PRECISIONS = ("float32", "bfloat16")
"""What the products of a model that is trained may be taken in."""


SAMPLERS = {"vllm": "float32", "vllm-bfloat16": "bfloat16"}
"""What may draw a policy's answers in its place while an online method learns, and in which precision it does."""


def sampler_problem(method: str, sampler: str, processes: int) -> str:
    """What stands against drawing with that sampler; empty where nothing does."""
    if sampler == "policy":
        return ""
    if sampler not in SAMPLERS:
        return f"There is no sampler {sampler!r}. Expected policy, {' or '.join(SAMPLERS)}."
    if entry(method).family != "online":
        return f"{method} draws no answers while it learns, so it has no use for the sampler {sampler}: leave it out."
    if processes > 1:
        return f"{sampler} draws in one process, and this run has {processes}: choose one, or the sampler policy."
    return ""


def drawn_problem(sampler: str, kind: str) -> str:
    """What stands against one of SAMPLERS drawing for a policy of this kind; empty where nothing does."""
    if kind == "hugging_face":
        return ""
    return f"{sampler} draws for Hugging Face models, and this policy is a {kind}: choose the sampler policy."


def backbone_problem(config: Mapping[str, Any], roles: Container[str]) -> str:
    """What stands between a reward model's backbone and the models that its run names; empty where nothing does."""
    if "backbone" not in config:
        return ""
    backbone = config["backbone"]
    if backbone == "policy" and "policy" not in roles:
        return "The backbone policy starts from a policy, and none is named: name one, or choose another backbone."
    if backbone != "policy" and "policy" in roles:
        return (
            f"The backbone {backbone} makes no use of a policy, and one is named. Choose the backbone policy, which "
            "starts from it, or name no policy."
        )
    return ""


class ConfigError(ValueError):
    """A setting that cannot be: which one, what was found, what was expected."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Field:
    """One setting of a method, as a form or a command line shows it."""

    name: str
    type: str
    """float, int, str, bool or choice."""
    default: Any
    doc: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    """Whether the value must be greater than `low`, not only equal to it."""
    below: bool = False
    """Whether the value must be less than `high`, not only equal to it."""


def entry(name: str) -> Entry:
    """The method called `name`, or a ValueError that lists the known ones."""
    if name not in METHODS:
        raise ConfigError(
            "method", f"No training method called '{name}'. Known methods: {', '.join(METHODS)}."
        )
    return METHODS[name]


def check_precision(name: str, precision: str) -> None:
    """A ConfigError that says why the method cannot be trained in this precision, where it cannot."""
    if precision not in PRECISIONS:
        raise ConfigError(
            "precision", f"There is no precision {precision!r}. Expected {' or '.join(PRECISIONS)}."
        )
    if precision != "float32" and (reason := entry(name).exact):
        raise ConfigError("precision", f"{name} cannot be trained in {precision}: {reason}. Choose float32.")


def learns_from(kinds: Mapping[str, int]) -> list[str]:
    """The methods that can learn from a snapshot with so many records of each kind."""
    return [name for name, one in METHODS.items() if any(kinds.get(kind) for kind in one.reads)]


SHARDINGS = ("none", "ddp", "fsdp")
"""How the processes of one run share a model."""
MOST_THREADS, MOST_PROCESSES = 256, 64
"""Of a process, and on a machine."""
MOST_SEED = 2**63 - 1
"""What a database's whole number and torch's generators hold."""


def check_scale(
    method: str, seed: int, threads: int | None, processes: int, sharding: str, nodes: int = 1
) -> None:
    """Raises ConfigError for a seed, or a share of one or more machines, that no run can have.

    `threads` None: as many as the worker has to give.
    """
    check_seed(seed)
    check_threads(threads)
    if not 1 <= processes <= MOST_PROCESSES:
        raise ConfigError("processes", f"Found {processes} processes; expected 1 to {MOST_PROCESSES}.")
    if sharding not in SHARDINGS:
        raise ConfigError(
            "sharding", f"There is no sharding {sharding!r}. Expected one of {', '.join(SHARDINGS)}."
        )
    count = processes * nodes
    if count > 1 and (why := entry(method).alone):
        raise ConfigError("processes", f"{method} {why}: it runs in one process, not in {count}.")
    if (count > 1) != (sharding != "none"):
        raise ConfigError(
            "sharding",
            f"Found {count} process{'es' * (count > 1)} and the sharding {sharding!r}. Expected ddp or fsdp "
            "with two processes or more, none with one.",
        )


def check_seed(seed: int) -> None:
    if not 0 <= seed <= MOST_SEED:
        raise ConfigError("seed", f"Found the seed {seed}; expected a whole number from 0 to {MOST_SEED}.")


def check_threads(threads: int | None) -> None:
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError("threads", f"Found {threads} threads; expected 1 to {MOST_THREADS}.")


def card(name: str) -> str:
    """The method's page, as markdown. Where two families have a method of one name, the later one's file names both."""
    family, _, short = name.partition("/")
    both = HERE / "cards" / f"{family}_{short}.md"
    return (both if both.exists() else HERE / "cards" / f"{short}.md").read_text(encoding="utf-8")


@cache
def fields(name: str) -> tuple[Field, ...]:
    """The method's settings in the order of its Config, read from the source without running it."""
    path = HERE.parent / (entry(name).module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            return tuple(_fields(node, str(path)))
    raise TypeError(f"{path} has no class Config: a method says there what can be set.")


def _fields(config: ast.ClassDef, path: str) -> list[Field]:
    found = []
    for node, after in zip(config.body, [*config.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        name = ast.unparse(node.target)
        where = f"{path}:{node.lineno}: Config.{name}"
        if node.value is None:
            raise TypeError(f"{where} has no default. Give it one, so that the method runs as it is.")
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            raise TypeError(f"{where} has no docstring under it. Say there what it does.")
        doc = " ".join(str(after.value.value).split())
        default = ast.literal_eval(node.value)
        found.append(_field(name, node.annotation, default, doc, where))
    return found


def _field(name: str, annotation: ast.expr, default: Any, doc: str, where: str) -> Field:
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        choices = ast.literal_eval(annotation.slice)
        return Field(name, "choice", default, doc, choices if isinstance(choices, tuple) else (choices,))
    spelled = ast.unparse(annotation)
    if spelled not in TYPES:
        raise TypeError(f"{where} is a {spelled}. Expected Literal[…] or one of {', '.join(TYPES)}.")
    kind, bounds = TYPES[spelled]
    return Field(name, kind, default, doc, (), bounds.low, bounds.high, bounds.above, bounds.below)


def read_config(name: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The method's whole config: what `mapping` sets, checked and coerced, and the defaults for the rest.

    Values may be text, as a form or a command line sends them. Raises ConfigError (a ValueError) that
    names the field.
    """
    known = {field.name: field for field in fields(name)}
    for key in mapping:
        if key not in known:
            raise ConfigError(key, f"{name} has no setting '{key}'. It has {', '.join(known)}.")
    config = {
        key: _read(field, mapping[key]) if key in mapping else field.default for key, field in known.items()
    }
    if problem := RELATIONS.get(name, _nothing)(config):
        raise ConfigError(*problem)
    return config


def read_setting(name: str, key: str, value: Any) -> Any:
    """One setting by itself, checked and coerced: whether it goes with the others, `read_config` says."""
    for one in fields(name):
        if one.name == key:
            return _read(one, value)
    return read_config(name, {key: value})  # says which settings there are


# --- what settings and models must be to each other -----------------------------------------------------

Problem = tuple[str, str]
"""The setting, or the model's role, that stands against the others; and what is wrong with it, in words."""


def _nothing(config: Mapping[str, Any]) -> Problem | None:
    return None


def _policy_learns(config: Mapping[str, Any]) -> Problem | None:
    buffer = config["epochs"] * config["minibatches"]
    if config["critic_warmup"] * buffer < config["steps"]:
        return None
    return "steps", (
        f"The critic alone learns from {config['critic_warmup']} buffers of {buffer} steps, so of {config['steps']} "
        "steps the policy has none. Raise steps, or lower critic_warmup."
    )


HEADS = 4
"""A byte transformer's attention heads, where a method makes one: trainers/nn/byte_transformer.py."""


def _heads_fit(config: Mapping[str, Any]) -> Problem | None:
    if config["backbone"] != "byte_transformer" or config["d"] % (2 * HEADS) == 0:
        return None
    return "d", (
        f"'d' is {config['d']}. Expected a multiple of {2 * HEADS}: a byte transformer has {HEADS} attention heads, "
        "each of an even width."
    )


def _robot_fits(config: Mapping[str, Any]) -> Problem | None:
    if not 3 <= config["things"] <= 6:
        return (
            "things",
            f"'things' is {config['things']}. Expected 3 to 6: so many have a place on the table.",
        )
    if config["execute"] <= config["chunk"]:
        return None
    return "execute", (
        f"'execute' is {config['execute']}, and only {config['chunk']} actions are foretold at a time. Lower it, or "
        "raise chunk."
    )


RELATIONS: dict[str, Callable[[Mapping[str, Any]], Problem | None]] = {
    "online/ppo": _policy_learns,
    "reward/bradley_terry": _heads_fit,
    "reward/plackett_luce": _heads_fit,
    "reward/ordinal": _heads_fit,
    "reward/ensemble": _heads_fit,
    "control/bc": _robot_fits,
}
"""Method -> what stands against its whole config, each setting of which may be by itself."""


def inputs_problem(
    name: str, config: Mapping[str, Any], kinds: Mapping[str, str], gold: str
) -> Problem | None:
    """What stands against a method with models of these kinds (role -> kind) and this gold rule, or "" for none."""
    for role, kind in kinds.items():
        wanted = entry(name).made_as.get(role)
        if wanted and kind not in wanted:
            return role, (
                f"{name} needs a {role} of kind {' or '.join(wanted)}, and this one is {kind or 'of no kind'}. "
                f"Name one that {' or '.join(MAKERS[one] for one in wanted)} made."
            )
        if role == "reward_model" and not wanted and kind == "clip_reward":
            return (
                role,
                f"This reward model scores a robot's clips, and {name} needs one that scores answers.",
            )
    if config.get("prompts") == "rule" and not gold:
        return "prompts", (
            "The prompts of the gold rule are asked for, but this run names no rule. Name one, or use the snapshot's."
        )
    if config.get("critic_from") == "reward_model" and config["critic"] == "own":
        judge = {"byte_transformer": "byte_reward", "hugging_face": "hugging_face_reward"}
        mine, theirs = kinds.get("policy"), kinds.get("reward_model")
        if mine and theirs and judge.get(mine) != theirs:
            return "critic_from", (
                f"A {theirs} does not read what a {mine} writes, token by token, so no critic can start from it. "
                "Choose auto, or policy."
            )
    if problem := backbone_problem(config, kinds):
        return "policy", problem
    return None


# --- one setting -----------------------------------------------------------------------------------------


def _read(field: Field, value: Any) -> Any:
    found = f"'{field.name}' is {value!r}"
    if field.type == "choice":
        for choice in field.choices:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise ConfigError(field.name, f"{found}. Expected one of {', '.join(map(str, field.choices))}.")
    if field.type == "str":
        if not isinstance(value, str):
            raise ConfigError(field.name, f"{found}. Expected text.")
        return value
    if field.type == "bool":
        spelled = str(value).strip().lower()
        if spelled in ("true", "on", "yes", "1"):
            return True
        if spelled in ("false", "off", "no", "0", ""):
            return False
        raise ConfigError(field.name, f"{found}. Expected true or false.")
    return _number(field, value, found)


def _number(field: Field, value: Any, found: str) -> int | float:
    expected = _expected(field)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number: int | float = float(value)
        if field.type == "int":
            if number != int(number):
                raise ValueError
            number = int(number)
    except (ValueError, OverflowError):
        raise ConfigError(field.name, f"{found}. Expected {expected}.") from None
    too_low = field.low is not None and (number < field.low or (field.above and number == field.low))
    too_high = field.high is not None and (number > field.high or (field.below and number == field.high))
    if not math.isfinite(number) or too_low or too_high:
        raise ConfigError(field.name, f"{found}. Expected {expected}.")
    return number


def _expected(field: Field) -> str:
    kind = "a whole number" if field.type == "int" else "a number"
    low = "" if field.low is None else f" {'above' if field.above else 'of at least'} {field.low:g}"
    most = "below" if field.below else "at most"
    high = "" if field.high is None else f"{' and' if low else ''} {most} {field.high:g}"
    return kind + low + high
