"""What an export is to hold: its format, what is filtered, what ties become, and how it is split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Literal, get_args

from annotation.errors import Invalid
from trainers.records import KINDS

Ties = Literal["drop", "first", "both", "half"]
Personal = Literal["keep", "leave_out", "refuse"]
Split = Literal["", "train", "validation", "test"]

TIES: dict[str, str] = {
    "drop": "left out",
    "first": "one row, the answer that came first with the item as the chosen one",
    "both": "two rows, one each way",
    "half": "two rows, one each way, each with half the weight",
}
PERSONAL: dict[str, str] = {
    "keep": "not looked for",
    "leave_out": "leave out every record in which some is found",
    "refuse": "refuse the export, and say where it is",
}
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Asked:
    """Nothing set is everything as it is."""

    format: str = "kibitz"
    ties: Ties = "drop"
    """What becomes of ties where a format has no word for them. Two bad answers are always left out there."""
    kinds: tuple[str, ...] = ()
    """Only records of these kinds."""
    annotators: tuple[str, ...] = ()
    """Only what these gave, by the names that stand in the records."""
    source: str = ""
    """Only items from here: "import 3", "run 12" or "added here"."""
    since: date | None = None
    until: date | None = None
    """The first and the last day (UTC) of labelling; both are in."""
    agreement: float = 0.0
    """Only tasks on which at least this share of pairs of people say the same. Tasks of one person are out then."""
    personal: Personal = "keep"
    """What becomes of records in whose texts personal data is found."""
    test: float = 0.0
    validation: float = 0.0
    """Which share of the prompts goes where; the rest is for training."""
    seed: int = 0
    split: Split = ""
    """Only this part, in formats that are one file."""

    def __post_init__(self) -> None:
        for name, kind in (("ties", Ties), ("personal", Personal), ("split", Split)):
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(one or "nothing" for one in get_args(kind))
                raise Invalid(f"Found {getattr(self, name)!r}; expected one of {choices}.", field=name)
        for kind in self.kinds:
            if kind not in KINDS:
                raise Invalid(f"No records of a kind {kind!r}. Kinds: {', '.join(KINDS)}.", field="kinds")
        for name in ("agreement", "test", "validation"):
            if not 0 <= getattr(self, name) <= 1:
                raise Invalid(f"Found {getattr(self, name)}; expected a share of 0 to 1.", field=name)
        if self.test + self.validation > 0.9:
            raise Invalid(
                "Leave at least a tenth for training: test and validation are too large.", field="test"
            )
        if self.split in ("test", "validation") and not getattr(self, self.split):
            raise Invalid(
                f"Nothing is set aside for {self.split}. Give its share: {self.split}=0.1.", field="split"
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise Invalid(f"Found {self.seed}; expected a whole number of at least 0.", field="seed")

    @property
    def everything(self) -> bool:
        """Whether no record is filtered or set aside."""
        return self == Asked(format=self.format, ties=self.ties, seed=self.seed, test=self.test,
                             validation=self.validation)  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in asdict(self).items()
        }


def read(query: Mapping[str, Any], **fixed: Any) -> Asked:
    """An export as asked for in a form or an address: lists are divided by commas, empty is not set."""
    known = {one.name: one.type for one in fields(Asked)}
    given: dict[str, Any] = {}
    for name, value in query.items():
        if name not in known or value in ("", None):
            continue
        given[name] = _value(name, str(known[name]), value)
    return Asked(**given | fixed)


def _value(name: str, kind: str, value: Any) -> Any:
    try:
        if kind.startswith("tuple"):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(part.strip() for part in parts if part.strip())
        if kind.startswith("date"):
            return value if isinstance(value, date) else date.fromisoformat(value)
        if kind == "float":
            return float(value)
        if kind == "int":
            return int(value)
    except (ValueError, AttributeError):
        expected = {"date": "a day like 2026-01-31", "floa": "a number", "int": "a whole number"}
        raise Invalid(
            f"Found {str(value)[:40]!r}; expected {expected.get(kind[:4], 'text')}.", field=name
        ) from None
    return value
