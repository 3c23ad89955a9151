"""The command line: for people (`list`, `describe`, `train`, `score`, `sample`, `evaluate`, `lora`, `merge`) and for a
worker (`run SPEC`, `serve POLICY…`, `live SPEC`, `score MODEL…` on standard input). docs/command-line.md shows each.

Nothing here needs Django. With --json what is printed is one JSON value; a problem is one too, {"problem", "field"}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

# Before torch is imported: threads that spin while they wait make a shared machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

FAILED, REFUSED = 1, 2


def main(arguments: list[str]) -> int:
    try:
        given = _parser().parse_args(arguments)
    except _Misspelt as problem:
        return problem.told("--json" in arguments)
    do: Callable[[argparse.Namespace], int] = given.do
    if given.command == "run":
        return do(given)  # its supervisor keeps what the console says: the whole story of an error
    try:
        return do(given)
    except BrokenPipeError:  # whoever was reading has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except (OSError, ValueError, KeyError) as error:
        return _refused(error, getattr(given, "json", False))


def _refused(error: Exception, as_json: bool) -> int:
    from trainers.registry import ConfigError

    field = error.field if isinstance(error, ConfigError) else ""
    message = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    if as_json:
        _print_json({"problem": message, "field": field})
    print(f"{field}: {message}" if field and f"'{field}'" not in message else message, file=sys.stderr)
    return REFUSED if field else FAILED


class _Misspelt(Exception):
    """A command line that cannot be read, and the parser that could not."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser, self.message = parser, message

    def told(self, as_json: bool) -> int:
        """The usage and the message on standard error, as argparse would; with `as_json` the problem, too."""
        if as_json:
            named = re.search(r"(?:argument|required:) ([\w./-]+)", self.message)
            field = named[1].strip("-").replace("-", "_").lower() if named else ""
            _print_json({"problem": self.message, "field": field})
        self.parser.print_usage(sys.stderr)
        print(f"{self.parser.prog}: error: {self.message}", file=sys.stderr)
        return REFUSED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Misspelt(self, message)


# --- what can be said ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m trainers", description="Learn from what people said.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, do: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        one.set_defaults(do=do)
        return one

    listed = command("list", list_methods, "the methods there are")
    described = command("describe", describe_method, "what a method learns from, makes, and can be set to")
    described.add_argument("method", metavar="METHOD")
    trained = command("train", train, "train a model by hand")
    methods = trained.add_subparsers(dest="method", required=True, metavar="METHOD")
    _add_methods(methods)
    scored = command("score", score, "what a reward model makes of records, or of answers on standard input")
    scored.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="folder of a reward model; after the last one a folder with records.jsonl, or a .jsonl file. "
        "Without these, rows are read from standard input",
    )
    sampled = command("sample", sample, "answers of a policy to prompts")
    _add_sampling(sampled)
    evaluated = command("evaluate", evaluate, "how a policy or a reward model does on records")
    _add_evaluation(evaluated)
    of_spec = command("run", run, "do what a spec.json says (a supervisor calls this)")
    of_spec.add_argument("spec", type=Path)
    served = command("serve", serve, "answer requests on standard input, a JSON object a line")
    served.add_argument("policies", nargs="+", type=Path, metavar="POLICY", help="folder of a policy")
    served.add_argument(
        "--reward-model", type=Path, help="folder of a reward model, for requests with best_of"
    )
    driven = command("drive", drive, "how a robot's policy does by itself, on the tables of some seeds")
    _add_driving(driven)
    lived = command(
        "live", live, "run a robot that people steer, a JSON object a line (a supervisor calls this)"
    )
    lived.add_argument("spec", type=Path)
    moved = command("motions", label_motions, "name the motions in episodes, mechanically")
    moved.add_argument("episodes", type=Path, metavar="EPISODES", help="folder of the episodes")
    moved.add_argument("--embodiment", required=True, help="reach, table_talk, or a .yaml file of your own")
    _add_json(moved)
    _add_episodes(command("episodes", episodes, "robots' episodes: what there is, and their way in and out"))
    lora = command("lora", convert, "give a Hugging Face policy adapters, which alone will train")
    lora.add_argument("--rank", type=int, default=8)
    lora.add_argument("--alpha", type=float, default=16.0, help="the adapters count alpha / rank")
    merge = command("merge", convert, "fold a policy's adapters into its weights")
    for one in (lora, merge):
        one.add_argument("policy", type=Path, help="folder of the policy")
        one.add_argument("out", type=Path, help="folder to write")
    for one in (scored, sampled, evaluated, served):
        one.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
        one.add_argument("--threads", type=int, default=1)
    for one in (listed, described, scored, sampled, evaluated, driven):
        _add_json(one)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_methods(methods: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """One sub-command a method, with an option for each input and each setting of its Config."""
    from trainers.registry import METHODS, SAMPLERS, fields

    for name, entry in METHODS.items():
        one = methods.add_parser(
            name, help=entry.title, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        kinds = ", ".join(entry.reads)
        one.add_argument("records", nargs="?", help=f"folder with records.jsonl, or a .jsonl file ({kinds})")
        one.add_argument("--out", required=True, help="folder of the run; goes on with what is there")
        one.add_argument("--snapshot", help="the records, under the name that the web gives them")
        one.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; repeat it"
        )
        for role in (*entry.inputs, *entry.optional_inputs):
            one.add_argument(f"--{role.replace('_', '-')}", dest=f"input.{role}", help=f"the {role}'s folder")
        one.add_argument(
            "--gold", dest="input.gold", help="a stated rule to plot beside learned scores: hotel"
        )
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--threads", type=int, default=1)
        one.add_argument("--device", default="cpu", help="cpu or cuda")
        one.add_argument(
            "--sampler",
            default="policy",
            choices=["policy", *SAMPLERS],
            help="what draws the answers to learn from",
        )
        one.add_argument("--precision", default="float32", help="float32, or bfloat16 for a model's products")
        one.add_argument("--processes", type=int, default=1, help="processes that train together")
        one.add_argument(
            "--sharding", default="none", choices=["none", "ddp", "fsdp"], help="what several processes hold"
        )
        _add_json(one)
        taken = {
            "out", "snapshot", "set", "seed", "threads", "device", "sampler", "precision", "processes", "sharding",
            "json",
        }  # fmt: skip
        for field in fields(name):
            option = f"--{field.name.replace('_', '-')}"
            if field.name not in taken:  # such a setting has --set alone
                shown = field.doc.replace("%", "%%")
                one.add_argument(option, dest=f"config.{field.name}", default=field.default, help=shown)


def _add_sampling(one: argparse.ArgumentParser) -> None:
    one.add_argument("policy", help="folder of a policy")
    one.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        help="a prompt; or a .jsonl file, or a folder with records.jsonl",
    )
    one.add_argument("--n", type=int, default=1, help="answers to each prompt")
    one.add_argument("--temperature", type=float, default=1.0)
    one.add_argument("--max-new-tokens", type=int, default=128)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends an answer; repeat it")
    one.add_argument("--begin", default="", metavar="TEXT", help="every answer begins so")
    one.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest tokens that hold so much"
    )
    one.add_argument("--top-k", type=int, default=0, help="draw from so many of the likeliest tokens")
    one.add_argument("--beam", type=int, default=0, metavar="WIDTH", help="search for likely answers instead")
    one.add_argument("--best-of", type=int, default=1, metavar="N", help="the best of N draws")
    one.add_argument("--reward-model", help="folder of the reward model that chooses the best")


def _add_evaluation(one: argparse.ArgumentParser) -> None:
    one.add_argument("model", help="folder of a policy or of a reward model")
    one.add_argument("records", help="folder with records.jsonl, or a .jsonl file")
    one.add_argument("--reference", help="a policy: which answers does the model prefer more than it does?")
    one.add_argument("--rival", help="a policy to win against, by --reward-model")
    one.add_argument("--reward-model", help="folder of the reward model that judges")
    one.add_argument("--n", type=int, default=4, help="answers of each to each prompt")
    one.add_argument("--max-new-tokens", type=int, default=128)
    one.add_argument("--temperature", type=float, default=1.0)
    one.add_argument("--seed", type=int, default=0)


def _add_driving(one: argparse.ArgumentParser) -> None:
    one.add_argument("policy", help="folder of a robot's policy")
    one.add_argument("--world", default="table_talk")
    one.add_argument("--task", default="", help="what it is to do; left out: the world's usual task")
    one.add_argument(
        "--dial",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what goes wrong: camera_shift=0.1; repeat it",
    )
    one.add_argument("--seeds", type=int, default=20, help="how many tables")
    one.add_argument("--first-seed", type=int, default=900_000)
    one.add_argument(
        "--steps", type=int, default=0, help="the most an episode lasts; 0 for the world's own limit"
    )
    one.add_argument("--rival", help="another policy, on the same tables")
    one.add_argument("--corrected", action="store_true", help="a scripted annotator corrects it meanwhile")
    one.add_argument("--threads", type=int, default=1)


# --- what is done --------------------------------------------------------------------------------------


def list_methods(given: argparse.Namespace) -> int:
    from trainers.registry import METHODS

    if given.json:
        _print_json([_described(name) for name in METHODS])
        return 0
    width = max(map(len, METHODS))
    for name, one in METHODS.items():
        print(f"{name:{width}}  {one.title}")
    return 0


def describe_method(given: argparse.Namespace) -> int:
    from trainers.registry import card, fields

    about = _described(given.method)
    if given.json:
        settings = [asdict(field) for field in fields(given.method)]
        _print_json({**about, "settings": settings, "card": card(given.method)})
    else:
        print(card(given.method), end="")
    return 0


def _described(name: str) -> dict[str, Any]:
    from trainers.registry import entry

    about = {key: value for key, value in asdict(entry(name)).items() if key != "module"}
    return {"name": name, **about}


def train(given: argparse.Namespace) -> int:
    from trainers import api, launch
    from trainers.registry import ConfigError, fields

    options = vars(given)
    defaults = {field.name: field.default for field in fields(given.method)}
    named = {key.removeprefix("config."): options[key] for key in options if key.startswith("config.")}
    config = {name: value for name, value in named.items() if value != defaults[name]}
    for pair in given.set:
        key, sign, value = pair.partition("=")
        if not sign:
            raise ConfigError("set", f"'set' is {pair!r}. Expected KEY=VALUE, such as lr=1e-5.")
        config[key] = value
    records = given.records or given.snapshot
    spec = api.Spec(
        method=given.method,
        home=Path(given.out).resolve(),
        config=config,
        seed=given.seed,
        snapshot=_place(records) if records else None,
        inputs={
            key.removeprefix("input."): options[key]
            for key in options
            if key[:6] == "input." and options[key]
        },
        threads=given.threads,
        device=given.device,
        sampler=given.sampler,
        precision=given.precision,
        processes=given.processes,
        sharding=given.sharding,
    )
    api.check(spec)
    with _console(given.json):
        code = launch.follow(api.written(spec))
    made = api.made(spec.home)
    if code not in (api.FINISHED, api.STOPPED):
        made.setdefault(
            "problem", f"The run ended with the code {code}; its last words are on standard error."
        )
    if given.json:
        _print_json({"out": str(spec.home), "code": code, **made})
    elif code == api.FINISHED:
        for one in made["artifacts"]:
            print(f"{one['kind']}: {one['path']}")
        if text := made["report"].get("text"):
            print(text)
        print(f"done: {spec.home}")
    return code


def _place(records: str) -> Path | str:
    return records if "://" in records else Path(records).resolve()


@contextlib.contextmanager
def _console(as_json: bool) -> Iterator[None]:
    """What a run says while it learns goes to standard error, where what is printed must be JSON."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # for processes that the run starts
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def score(given: argparse.Namespace) -> int:
    from trainers import api

    *models, last = given.models
    device = _device(given.device)
    if not models or _is_model(last):
        from trainers.sampling import score as scoring

        api.use(device, given.threads)
        paths = [Path(one) for one in (*models, last)]
        scoring.score(paths, sys.stdin, sys.stdout, device=device, threads=given.threads)
        return 0
    found = [(one, api.score(one, last, device=device, threads=given.threads)) for one in models]
    if given.json:
        _print_json([{"model": one, **report} for one, report in found] if len(models) > 1 else found[0][1])
        return 0
    for one, report in found:
        if len(models) > 1:
            print(f"{one}:")
        _print_report(report)
    return 0


def _is_model(place: str) -> bool:
    return any((Path(place) / name).is_file() for name in ("kibitz.json", "config.json"))


def sample(given: argparse.Namespace) -> int:
    from trainers import api
    from trainers.records import prompt_text
    from trainers.sampling.asked import prompts_of

    asked = prompts_of(given.prompts)
    found = api.sample(
        given.policy, asked, n=given.n, temperature=given.temperature, max_new_tokens=given.max_new_tokens,
        seed=given.seed, stop=given.stop, begin=given.begin, top_p=given.top_p, top_k=given.top_k, beam=given.beam,
        best_of=given.best_of, reward_model=given.reward_model, device=_device(given.device), threads=given.threads,
    )  # fmt: skip
    if given.json:
        _print_json(found)
        return 0
    for prompt, row in zip(asked, found, strict=True):
        print(f"> {prompt_text(prompt)}")
        for one in row["answers"]:
            about = [f"{name} {one[name]:.4g}" for name in ("logp", "score") if name in one]
            print(one["text"] + (f"    [{', '.join(about)}]" if about else ""))
        print()
    return 0


def evaluate(given: argparse.Namespace) -> int:
    from trainers import api

    report = api.evaluate(
        given.model, given.records, reference=given.reference, rival=given.rival, reward_model=given.reward_model,
        n=given.n, max_new_tokens=given.max_new_tokens, temperature=given.temperature, seed=given.seed,
        device=_device(given.device), threads=given.threads,
    )  # fmt: skip
    if given.json:
        _print_json(report)
    else:
        _print_report(report)
    return 0


def run(given: argparse.Namespace) -> int:
    from trainers import launch
    from trainers.run import Spec

    try:
        Spec.read(given.spec)
    except (OSError, ValueError) as error:
        return _refused(error, False)
    return launch.follow(given.spec)


def serve(given: argparse.Namespace) -> int:
    from trainers import api
    from trainers.sampling import serve as serving

    device = _device(given.device)
    api.use(device, given.threads)
    serving.serve(given.policies, reward_model=given.reward_model, device=device, threads=given.threads)
    return FAILED


def drive(given: argparse.Namespace) -> int:
    from trainers import api
    from trainers.registry import ConfigError

    dials: dict[str, Any] = {}
    for pair in given.dial:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ConfigError("dial", f"'dial' is {pair!r}. Expected NAME=VALUE, such as camera_shift=0.1.")
        try:
            dials[name] = json.loads(value)
        except json.JSONDecodeError:
            raise ConfigError("dial", f"'dial' is {pair!r}. Expected a number, true or false.") from None
    if given.seeds < 1:
        raise ConfigError("seeds", f"'seeds' is {given.seeds}. Expected how many tables, 1 or more.")
    if given.steps < 0:
        raise ConfigError(
            "steps", f"'steps' is {given.steps}. Expected 1 or more, or 0 for the world's own limit."
        )
    report = api.drive(
        given.policy, world=given.world, task=given.task, dials=dials, steps=given.steps, rival=given.rival,
        seeds=range(given.first_seed, given.first_seed + given.seeds), corrected=given.corrected,
        threads=given.threads,
    )  # fmt: skip
    if given.json:
        _print_json(report)
    else:
        _print_report(report)
    return 0


def live(given: argparse.Namespace) -> int:
    from trainers.sampling import live as living

    living.live(given.spec)
    return 0


def label_motions(given: argparse.Namespace) -> int:
    from trainers.data.motions import label_all
    from trainers.envs.motions import embodiment

    arm = embodiment(given.embodiment)
    if not given.episodes.is_dir():
        raise ValueError(
            f"There is no folder {given.episodes}. Name the one that the episodes were written to."
        )
    told = label_all(arm, given.episodes)
    if given.json:
        _print_json(told)
        return 0
    print(
        f"{told['labelled']} episodes of {arm.name} version {arm.version}: {told['written']} segments written, "
        f"{told['withdrawn']} withdrawn; {told['other_worlds']} episodes of other worlds left as they are."
    )
    for phrase, steps in told["phrases"].items():
        print(f"{steps:8}  {phrase}")
    return 0


def _add_episodes(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("list", help="the episodes in a folder")
    shown = verbs.add_parser("show", help="what is known of one, with all that was said about it")
    exported = verbs.add_parser("export", help="write episodes for other tools")
    brought = verbs.add_parser("import", help="take in a LeRobot dataset, or another folder of episodes")
    for one in (listed, shown, exported, brought):
        one.add_argument("folder", type=Path, metavar="EPISODES", help="folder of the episodes")
        _add_json(one)
    shown.add_argument("episode", metavar="NAME", help="its name, or the beginning of it")
    exported.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    exported.add_argument(
        "episodes", nargs="*", metavar="NAME", help="which; without names, all that have ended"
    )
    exported.add_argument("--format", default="folder", choices=["folder", "lerobot", "rlds"])
    brought.add_argument("source", type=Path, metavar="SOURCE", help="folder to read")
    brought.add_argument("--task", default="", help="what was asked, where a dataset of others does not say")
    for one in (listed, exported, brought):
        one.add_argument(
            "--world", default="", help="only of this world; of a dataset of others, which it is"
        )


def episodes(given: argparse.Namespace) -> int:
    from trainers.data import shelf
    from trainers.episodes import Episodes

    store = Episodes(given.folder)
    if given.verb == "import":
        brought = shelf.bring(given.source, store, given.world, given.task)
        if given.json:
            _print_json(asdict(brought))
        else:
            print("\n".join([*brought.episodes, *brought.notes]))
    elif given.verb == "export":
        said = shelf.export(shelf.chosen(store, given.episodes, given.world), given.out, given.format)
        _print_json({"out": str(given.out), "written": said}) if given.json else print(f"{given.out}: {said}")
    elif given.verb == "show":
        (one,) = shelf.chosen(store, [given.episode])
        found = shelf.details(one)
        if given.json:
            _print_json(found)
        else:
            print(
                "\n".join(
                    f"{name}: {value}" for name, value in found.items() if value not in ("", [], {}, None)
                )
            )
    else:
        rows = [shelf.facts(one) for one in store if not given.world or one.about.world == given.world]
        if given.json:
            _print_json(rows)
        else:
            for row in rows:
                print(
                    f"{row['episode']}  {row['world']} {row['task']}  seed {row['seed']}  {row['steps']} steps  "
                    f"{row['policy']}"
                )
    return 0


def convert(given: argparse.Namespace) -> int:
    from trainers import api

    if given.command == "lora":
        api.with_lora(given.policy, given.out, rank=given.rank, alpha=given.alpha)
    else:
        api.merged(given.policy, given.out)
    print(f"done: {given.out}")
    return 0


# --- what is printed -----------------------------------------------------------------------------------


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _print_report(report: dict[str, Any]) -> None:
    """The report's sentences, and its readings as a table."""
    readings = report["readings"].values()
    width = max((len(one["label"]) for one in readings), default=0)
    for one in readings:
        between = f"  {one['low']:.4g} to {one['high']:.4g}" if "low" in one else ""
        count = f"  of {one['n']}" if "n" in one else ""
        print(f"{one['label']:{width}}  {one['value']:.4g}{between}{count}")
    print(report["text"])


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
