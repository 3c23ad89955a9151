"""The check `rth_reach`: what RT-H promises, measured on the point arm. Whoever corrects it is scripted.

Run as a program it prints the figures that the cards show: python -m tests.trainers.rth_reach 0 1 2
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers import api
from trainers.data.motions import Moments, moments_said, moments_shown, said_by_people, shown_by_rule
from trainers.envs.motions import embodiment
from trainers.envs.reach import Reach
from trainers.episodes import Episodes
from trainers.nn import load_pilot
from trainers.nn.hand import TASK
from trainers.nn.motions import MotionPolicy
from trainers.nn.storage import digest_of
from trainers.records import LanguageCorrection, dumps
from trainers.run import Spec
from trainers.sampling.episodes import Lived, Setting, live
from trainers.sampling.motions import MotionAnnotator, records

ARM = embodiment("reach")
KNOWN, NOVEL = ("red", "green", "blue"), "beside"
HOLD = 3
"""Steps after which a phrase that was said lapses."""
FRESH, ROUNDS, OTHERS = 900_000, 50_000, 70_000
"""First seeds of the episodes that are tests, of those that were corrected, and of corrections never trained on."""
SINGLE = {"move arm left": (0, -1), "move arm right": (0, 1), "move arm up": (1, 1), "move arm down": (1, -1)}


@dataclass(frozen=True)
class Size:
    """How much of the check is done."""

    base: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    rounds: int = 3
    episodes: int = 30
    tests: int = 100


WHOLE = Size()
SHORT = Size(
    {"demonstrations": 240, "play": 160, "steps": 1200}, {"steps": 500}, rounds=2, episodes=24, tests=40
)


@dataclass
class Study:
    """A base policy and what was measured of it, in a folder of its own."""

    folder: Path
    seed: int
    size: Size
    kept_apart: Moments | None = None

    def train(self, method: str, name: str, config: dict[str, Any], **more: Any) -> MotionPolicy:
        assert api.execute(Spec(method, self.folder / name, config, seed=self.seed, **more)) == 0, name
        return self.policy(name)

    def policy(self, name: str) -> MotionPolicy:
        policy = load_pilot(self.folder / name / "robot_policy")
        assert isinstance(policy, MotionPolicy)
        return policy

    # --- what is measured

    def base(self) -> dict[str, Any]:
        """Validation errors, steerability and known tasks, beside a network without phrases on the same data."""
        config = {"held_out": 0, "demonstration_seed": 10_000 + 1_000 * self.seed, **self.size.base}
        policy = self.train("control/rt_h_base", "base", config)
        tests = self.shown(range(FRESH + 500, FRESH + 500 + self.size.tests // 3))
        flat = self.flat(policy, config)
        with torch.no_grad():
            chosen = policy.logits(tests.observations, tests.tasks).argmax(dim=1)
            seen = policy.seen(tests.observations, tests.tasks)
            errors = {
                "mse_flat": F.mse_loss(flat(seen), tests.actions).item(),
                "mse_predicted": F.mse_loss(
                    policy.acted(tests.observations, tests.tasks, chosen), tests.actions
                ).item(),
                "mse_true": F.mse_loss(
                    policy.acted(tests.observations, tests.tasks, tests.phrases), tests.actions
                ).item(),
            }
        return {
            **errors,
            "phrase_accuracy": (chosen == tests.phrases).double().mean().item(),
            "steerability": steerability(policy, tests),
            "known": self.alone(policy, KNOWN),
            "known_flat": [share(self.flat_lived(policy, flat, task)) for task in KNOWN],
            "novel": self.alone(policy, (NOVEL,))[0],
            "novel_live": share(self.corrected(policy, range(FRESH, FRESH + self.size.tests))),
        }

    def taught(self, method: Any = None, relabel: Any = None, **config: Any) -> dict[str, Any]:
        """Rounds of correcting and learning. `method`: a variant to train with; `relabel`: what to make of records."""
        policy, where = self.policy("base"), self.folder / "base" / "robot_policy"
        others = self.others()
        found: dict[str, Any] = {
            "frozen": digest_of(policy.action), "interventions": [], "novel": [],
            "held_out": [right(policy, others)],
        }  # fmt: skip
        said: list[LanguageCorrection] = []
        variant = f"variant-{len(list(self.folder.iterdir()))}"
        store = Episodes(self.folder / variant / "episodes")
        for turn in range(self.size.rounds):
            first = ROUNDS + 1_000 * self.seed + turn * 100
            lived = self.corrected(policy, range(first, first + self.size.episodes), store)
            found["interventions"].append(sum(len(one.corrections) for one in lived) / len(lived))
            said += records(lived)
            snapshot = self.folder / variant / f"said-{turn}"
            snapshot.mkdir(parents=True)
            rows = [relabel(one) for one in said] if relabel else said
            (snapshot / "records.jsonl").write_text("".join(dumps(one) + "\n" for one in rows), "utf-8")
            spec = Spec(
                "correction/rt_h", self.folder / variant / f"round-{turn}",
                {"held_out": 0, **self.size.after, **config}, self.seed, snapshot=snapshot, episodes=store.root,
                inputs={"robot_policy": str(where)},
            )  # fmt: skip
            if method is None:
                assert api.execute(spec) == 0
            else:
                run = api.Run(spec)
                method.train(method.Config(**run.config), run)
                run.finished()
            where = spec.home / "robot_policy"
            policy = self.policy(f"{variant}/round-{turn}")
            found["novel"].append(self.alone(policy, (NOVEL,))[0])
            found["held_out"].append(right(policy, others))
        lived = self.corrected(policy, range(FRESH, FRESH + self.size.tests // 2))
        found["interventions"].append(sum(len(one.corrections) for one in lived) / len(lived))
        return {**found, "known": self.alone(policy, KNOWN), "action": digest_of(policy.action)}

    # --- parts

    def alone(self, policy: MotionPolicy, tasks: Sequence[str]) -> list[float]:
        seeds = range(FRESH, FRESH + self.size.tests)
        return [share(live(policy, Setting("reach", task), seeds)) for task in tasks]

    def corrected(self, policy: MotionPolicy, seeds: range, store: Episodes | None = None) -> list[Lived]:
        annotator = MotionAnnotator(arm=ARM)
        return live(policy, Setting("reach", NOVEL), seeds, annotator=annotator, hold=HOLD, store=store)

    def others(self) -> Moments:
        """Corrections of the base policy in episodes that nothing is trained on."""
        if self.kept_apart is None:
            store = Episodes(self.folder / f"others-{len(list(self.folder.iterdir()))}")
            lived = self.corrected(self.policy("base"), range(OTHERS, OTHERS + 20), store)
            said, left = said_by_people(ARM, store, records(lived), 1)
            assert said and not left
            self.kept_apart = moments_said(ARM, said, TASK)
        return self.kept_apart

    def shown(self, seeds: range) -> Moments:
        shown = [one for task in KNOWN for one in shown_by_rule(ARM, "reach", task, seeds, 0.2)]
        return moments_shown(ARM, shown, TASK, self.seed)

    def flat(self, policy: MotionPolicy, config: dict[str, Any]) -> nn.Module:
        """pi(a | o, g), as wide and deep, on the same data in as many updates: RT-2's place in the paper."""
        method = sys.modules["trainers.methods.control.rt_h_base"]
        whole = method.Config(**{**config, "held_out": 0})
        moments = moments_shown(ARM, method.scripted(whole, ARM), TASK, self.seed)
        with torch.no_grad():
            seen = policy.seen(moments.observations, moments.tasks)
        torch.manual_seed(self.seed)
        hidden = whole.hidden
        flat = nn.Sequential(
            nn.Linear(seen.shape[1], hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 3),
        )
        optimiser = torch.optim.AdamW(flat.parameters(), whole.lr, weight_decay=whole.weight_decay)
        for step in range(whole.steps):
            rows = torch.randint(len(moments), (whole.batch_size,))
            loss = F.mse_loss(flat(seen[rows]), moments.actions[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for group in optimiser.param_groups:
                group["lr"] = whole.lr * (1 - step / whole.steps)
        return flat

    def flat_lived(self, policy: MotionPolicy, flat: nn.Module, task: str) -> list[bool]:
        """Whether each episode was a success."""
        worlds = [Reach() for _ in range(self.size.tests)]
        for seed, one in enumerate(worlds, FRESH):
            one.reset(seed, task)
        crew = policy.together([one.scene() for one in worlds])
        for _ in range(Reach.most_steps):
            crew.see([one.observe() for one in worlds])
            with torch.no_grad():
                actions = flat(policy.seen(crew._seen, crew._tasks)).clamp(-1, 1).numpy()
            for one, action in zip(worlds, actions, strict=True):
                if not one.done:
                    one.step(action)
        return [one.done for one in worlds]


def steerability(policy: MotionPolicy, tests: Moments) -> float:
    """How often a phrase about one direction moves that axis that way, wherever the hand is."""
    rights: list[Tensor] = []
    for phrase, (axis, sign) in SINGLE.items():
        numbers = torch.full((len(tests),), ARM.number(phrase))
        with torch.no_grad():
            rights.append(policy.acted(tests.observations, tests.tasks, numbers)[:, axis] * sign > 0)
    return torch.cat(rights).double().mean().item()


def right(policy: MotionPolicy, tests: Moments) -> float:
    with torch.no_grad():
        chosen = policy.logits(tests.observations, tests.tasks).argmax(dim=1)
    return (chosen == tests.phrases).double().mean().item()


def share(lived: Sequence[Lived] | Sequence[bool]) -> float:
    return sum(one if isinstance(one, bool) else one.success for one in lived) / len(lived)


def as_predicted(record: LanguageCorrection) -> LanguageCorrection:
    """A wrong label: what the policy itself wanted at that moment."""
    return replace(record, command=record.predicted, text=record.predicted)


def measure(seed: int, size: Size = WHOLE) -> dict[str, Any]:
    """Everything, with the negative controls."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), seed, size)
        return {
            "base": study.base(),
            "taught": study.taught(),
            "labels from its own prediction": study.taught(relabel=as_predicted),
            "no base mixed in": study.taught(ratio=1.0),
        }


if __name__ == "__main__":
    for number in map(int, sys.argv[1:] or ["0"]):
        found = measure(number)
        print(json.dumps({"seed": number, **found}, indent=1), flush=True)
