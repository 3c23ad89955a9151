"""How much one page may send: more is taken more slowly, and far more is cut off."""

from __future__ import annotations

from dataclasses import dataclass, field


class Slowed(Exception):
    """It was slowed again and again, and goes on."""


@dataclass
class Bucket:
    """Fills with `rate` a second, up to `most`; each message takes one out, and waits for it where there is none."""

    rate: float
    most: float
    left: float = -1.0
    at: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds that this message has to wait."""
        filled = self.most if self.left < 0 and not self.at else self.left + (now - self.at) * self.rate
        self.left, self.at = min(self.most, filled) - 1.0, now
        return max(0.0, -self.left / self.rate)


RATE, MOST = 25.0, 60.0
"""Of messages that touch the database: more than anybody types or presses."""
DRIVE_RATE, DRIVE_MOST = 120.0, 240.0
"""Of a driver's actions."""
PATIENCE_SECONDS = 8.0
"""Of being slowed; each second of rest gives a quarter of a second back."""
FORGIVEN = 0.25


@dataclass
class Flood:
    """One page's buckets."""

    said: Bucket = field(default_factory=lambda: Bucket(RATE, MOST))
    driven: Bucket = field(default_factory=lambda: Bucket(DRIVE_RATE, DRIVE_MOST))
    waited: float = 0.0
    at: float = 0.0

    def wait(self, kind: str, now: float) -> tuple[float, bool]:
        """Seconds to wait, and whether it is the first time in a while. Raises Slowed when patience is at its end."""
        wait = (self.driven if kind == "drive" else self.said).wait(now)
        if not self.waited:
            self.at = now
        self.waited = max(0.0, self.waited - (now - self.at) * FORGIVEN)
        self.at = now
        first = wait > 0 and self.waited == 0
        self.waited += wait
        if self.waited > PATIENCE_SECONDS:
            raise Slowed
        return wait, first
