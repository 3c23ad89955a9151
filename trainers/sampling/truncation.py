"""Given answers that are longer than a policy reads: how many there are is said once, where a run begins."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainers.nn import Policy
from trainers.records import Prompt
from trainers.run import Run


class Truncation:
    """Counts what of the texts a run learns from its policy does not read."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.prompts = self.answers = self.cut_prompts = self.cut_answers = self.alike = 0

    def add(self, prompt: Prompt, x: Tensor, answers: Sequence[Tensor]) -> None:
        """A prompt with its ids, and those of answers to it: one that was cut has no end."""
        eos = self.policy.eos
        self.prompts, self.answers = self.prompts + 1, self.answers + len(answers)
        self.cut_prompts += self.policy.cut(prompt, x)
        self.cut_answers += sum(eos is not None and int(y[-1]) != eos for y in answers)

    def tell(self, run: Run) -> None:
        """An event of the run, where anything was cut or left out."""
        if not (self.cut_prompts or self.cut_answers or self.alike):
            return
        said = (
            f"This policy reads the end alone of {self.cut_prompts} of {self.prompts} prompts, and the beginning alone "
            f"of {self.cut_answers} of {self.answers} answers: each may take half of its context."
        )
        if self.alike:
            said += f" {self.alike} of {self.prompts} pairs are left out: to this policy both answers are the same."
        said += (
            " Raise context in the policy's kibitz.json, as far as the model can read, or give shorter texts."
        )
        counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        run.event("truncated", 0, "truncated", said, counts)
