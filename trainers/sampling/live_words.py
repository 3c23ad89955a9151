"""What is said to a live robot, and what becomes of it: heard, in force, over. On the disk first, then told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainers.nn.pilot import Choice
from trainers.sampling.moments import Story
from trainers.sampling.steering import Override, Steering


class Words:
    """The words of one episode. The step that is under way is the last one that was recorded."""

    def __init__(
        self, episode: str, story: Story, steering: Steering, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.episode, self.story, self.steering, self._tell = episode, story, steering, tell
        self.told = ""
        """Which of the things said is in force."""
        self.pending = ""
        """Which one will be, from the next step on."""
        self._starts: dict[str, int] = {}
        self._let_go: set[str] = set()

    def knows(self, said: str) -> bool:
        """Whether it was heard before: it counts once, however often it comes."""
        return said in self.story.known(self.episode)

    def hear(self, said: str, step: int, command: str, held: bool, hold: int) -> None:
        """What a person said while `step` is under way."""
        self._drop("replaced", step + 1)
        self._write(
            {"type": "heard", "id": said, "step": step, "command": command, "held": held, "hold": hold}
        )
        self._take_up(self.story.of(self.episode)[said])

    def again(self, step: int) -> None:
        """What became of the words so far, told again; and what was not over yet is to be obeyed at `step`."""
        for said, one in self.story.of(self.episode).items():
            for told in one["told"]:
                self._tell({**told, "again": True})
            if "over" in one:
                continue
            if one.get("start") is not None:
                self._starts[said] = one["start"]
            # Another one was in force, or about to be, when this one was heard: it would have been replaced.
            self._drop("replaced", step)
            self._take_up(one)

    def let_go(self, said: str, step: int) -> None:
        """Hands back: whatever is in force; or one thing that was said, once it was obeyed for a step at least."""
        self._let_go |= {said} if said else {one for one in (self.told, self.pending) if one}
        if said and said != self.told:
            return  # a key that was touched for less than a step still counts for one
        if not said:
            self._drop("handed back", step + 1)
        self.steering.let_go(step)

    def obeyed(self, step: int) -> None:
        """Says which words begin to count at this step, and which no longer do."""
        now = self.steering.told
        said = str(now.source["id"]) if now else ""
        for one in self.steering.finished:
            was = str(one.source["id"])
            how = "handed back" if was in self._let_go else "replaced" if said and said != was else "expired"
            self._over(one, how)
        self.steering.finished.clear()
        if now is not None and said != self.told:
            if self.pending == said:
                self.pending = ""
            if said not in self._starts:  # else it counted before this process was killed, and was told so
                self._starts[said] = step
                self._write({"type": "in_force", "id": said, "start": step, "choices": listed(now.predicted)})
            if said in self._let_go:
                self.steering.let_go(step)
        self.told = said

    def end(self, step: int) -> None:
        """The episode is over, and `step` will never be."""
        self._drop("the episode ended", step)
        self.steering.end(step)
        for one in self.steering.finished:
            self._over(one, "the episode ended")
        self.steering.finished.clear()

    def _take_up(self, heard: Mapping[str, Any]) -> None:
        self.pending = str(heard["id"])
        self.steering.hold = heard["hold"]
        self.steering.say(heard["step"], heard["command"], held=heard["held"], source={"id": heard["id"]})

    def _drop(self, how: str, step: int) -> None:
        """What was to be obeyed from `step` on no longer is. It was before, where a process was lost since."""
        if self.pending:
            start = self._starts.get(self.pending)
            stop = None if start is None else step
            self._write({"type": "over", "id": self.pending, "start": start, "stop": stop, "how": how})
            self.pending = ""

    def _over(self, one: Override, how: str) -> None:
        said = str(one.source["id"])
        start = self._starts.get(said, one.start)
        self._write({"type": "over", "id": said, "start": start, "stop": one.stop, "how": how})

    def _write(self, told: dict[str, Any]) -> None:
        """On the disk first, then told: whoever starts this process again finds it."""
        told = {**told, "episode": self.episode}
        self.story.add(told)
        self._tell(told)


def listed(choices: Sequence[Choice]) -> list[list[Any]]:
    """Choices as a message has them."""
    return [[one.command, round(one.probability, 4)] for one in choices]
