"""Who is with a robot: so that it stands still when whoever steers it is gone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

GRACE_SECONDS = 1.0
"""For a steerer whose socket dropped to come back; then the robot is paused."""
SILENT_SECONDS = 2.5
"""After which web processes that said nothing are taken for dead, and those they spoke for as gone."""


@dataclass
class Company:
    """Who is there, as the web processes say it: each speaks for its own sockets, again and again."""

    heard: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)
    gone_at: dict[str, float] = field(default_factory=dict)
    anybody_at: float = field(default_factory=time.monotonic)

    def hear(self, web: str, names: list[str], now: float) -> None:
        before = self.names(now)
        self.heard[web] = (now, frozenset(names))
        self._compare(before, now)

    def look(self, now: float) -> None:
        """Forgets the web processes that went silent."""
        before = frozenset().union(*(names for _, names in self.heard.values()))
        self.heard = {web: one for web, one in self.heard.items() if now - one[0] < SILENT_SECONDS}
        self._compare(before, now)

    def names(self, now: float) -> frozenset[str]:
        return frozenset().union(*(names for at, names in self.heard.values() if now - at < SILENT_SECONDS))

    def _compare(self, before: frozenset[str], now: float) -> None:
        here = self.names(now)
        if here:
            self.anybody_at = now
        for name in here:
            self.gone_at.pop(name, None)
        for name in before - here:
            self.gone_at.setdefault(name, now)

    def expect(self, name: str, now: float) -> None:
        """Somebody who was there with an earlier supervisor: gone, unless they are heard of soon."""
        self.gone_at.setdefault(name, now + SILENT_SECONDS)

    def forget(self, name: str) -> None:
        self.gone_at.pop(name, None)

    def left(self, name: str, now: float) -> bool:
        """Whether somebody was there, and has been gone for longer than the grace."""
        return name in self.gone_at and now - self.gone_at[name] >= GRACE_SECONDS
