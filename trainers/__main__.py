"""What a worker calls (`run SPEC`, `serve POLICY …`, `score MODEL …`), and people (`train METHOD …`, `lora`, `merge`).

python -m trainers train direct/dpo --snapshot answers/ --policy models/demo --out runs/dpo --lr 1e-5
python -m trainers lora models/llama models/llama-lora --rank 8
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before torch is imported: threads that spin while they wait make a shared machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainers", description="Train a model on what people said."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of_spec = commands.add_parser("run", help="do what a spec.json says (a supervisor calls this)")
    of_spec.add_argument("spec", type=Path)
    by_hand = commands.add_parser("train", help="train a model by hand")
    methods = by_hand.add_subparsers(dest="method", required=True, metavar="METHOD")
    add_methods(methods)
    lora = commands.add_parser("lora", help="give a Hugging Face policy adapters, which alone will train")
    lora.add_argument("--rank", type=int, default=8)
    lora.add_argument("--alpha", type=float, default=16.0, help="the adapters count alpha / rank")
    merge = commands.add_parser("merge", help="fold a policy's adapters into its weights")
    for one in (lora, merge):
        one.add_argument("policy", type=Path, help="folder of the policy")
        one.add_argument("out", type=Path, help="folder to write")
    served = commands.add_parser("serve", help="answer requests on standard input, a JSON object a line")
    served.add_argument("policies", nargs="+", type=Path, metavar="POLICY", help="folder of a policy")
    served.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    served.add_argument("--threads", type=int, default=1)
    judged = commands.add_parser("score", help="score the answers on standard input, a JSON object a line")
    judged.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="folder of a reward model")
    judged.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    judged.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args(arguments))
    if given["command"] == "run":
        return run(given["spec"])
    if given["command"] == "serve":
        return serve(given["policies"], given["device"], given["threads"])
    if given["command"] == "score":
        return score(given["models"], given["device"], given["threads"])
    return train(given) if given["command"] == "train" else convert(given)


def add_methods(methods: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """One sub-command a method, with an option for each input and each setting of its Config."""
    from trainers.registry import METHODS, fields

    for name, entry in METHODS.items():
        one = methods.add_parser(
            name, help=entry.title, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        one.add_argument("--out", required=True, help="folder of the run; goes on with what is there")
        one.add_argument("--snapshot", help=f"folder with records.jsonl ({', '.join(entry.reads)})")
        for role in (*entry.inputs, *entry.optional_inputs):
            one.add_argument(
                f"--{role.replace('_', '-')}", required=role in entry.inputs, help=f"the {role}'s folder"
            )
        one.add_argument("--gold", help="a stated rule to plot beside learned scores, such as hotel")
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--threads", type=int, default=1)
        one.add_argument("--device", default="cpu", help="cpu or cuda")
        for field in fields(name):
            option = f"--{field.name.replace('_', '-')}"
            shown = field.doc.replace("%", "%%")
            one.add_argument(option, dest=f"config.{field.name}", default=field.default, help=shown)


def run(path: Path) -> int:
    from trainers.run import Spec, die_with

    spec = Spec.read(path)
    die_with(spec.parent)
    from trainers import api

    return api.execute(spec)


def serve(policies: list[Path], device: str, threads: int) -> int:
    from trainers.sampling import serve as sampling

    try:
        sampling.serve(policies, device=device, threads=threads)
    except (OSError, ValueError) as error:  # no policy there
        print(error, file=sys.stderr)
    return 1


def score(models: list[Path], device: str, threads: int) -> int:
    from trainers.sampling import score as scoring

    try:
        scoring.score(models, sys.stdin, sys.stdout, device=device, threads=threads)
    except (OSError, ValueError, KeyError) as error:  # no model there, or no row
        print(error, file=sys.stderr)
        return 1
    return 0


def train(given: dict[str, object]) -> int:
    from trainers import api
    from trainers.run import Spec

    method = str(given["method"])
    entry = api.METHODS[method]
    roles = (*entry.inputs, *entry.optional_inputs, "gold")
    spec = Spec(
        method=method,
        home=Path(str(given["out"])).resolve(),
        config={name.removeprefix("config."): given[name] for name in given if name.startswith("config.")},
        seed=int(str(given["seed"])),
        snapshot=Path(str(given["snapshot"])).resolve() if given["snapshot"] else None,
        inputs={role: str(given[role]) for role in roles if given[role]},
        threads=int(str(given["threads"])),
        device=str(given["device"]),
    )
    try:
        code = api.execute(spec)
    except ValueError as error:  # a setting that cannot be: said before the run began
        print(error, file=sys.stderr)
        return api.FAILED
    if code == api.FINISHED:
        print(f"done: {spec.home}")
    return code


def convert(given: dict[str, object]) -> int:
    from trainers import api

    policy, out = Path(str(given["policy"])), Path(str(given["out"]))
    try:
        if given["command"] == "lora":
            api.with_lora(policy, out, rank=int(str(given["rank"])), alpha=float(str(given["alpha"])))
        else:
            api.merged(policy, out)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return api.FAILED
    print(f"done: {out}")
    return api.FINISHED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
