"""The words between the halves: what people said, as files that any method can learn from.

One JSON object a line. Interfaces write records, methods read them, and neither knows the other.
TRL's spellings are read and written too, so that data can come from, and go to, other tools.
"""

from __future__ import annotations

from trainers.records.comparisons import CRITERION, OUTCOMES, RANKED, Outcome, Pair, Ranking
from trainers.records.critique import Critique, Span, read_span
from trainers.records.kinds import KINDS, Record, RecordType, dumps, parse
from trainers.records.prompts import ROLES, Message, Prompt, prompt_json, prompt_text
from trainers.records.rating import POINTS, Rating
from trainers.records.reading import Json, RecordError, canonical, decoded, read_row
from trainers.records.robots import ClipPair, Drive, EpisodeMark, LanguageCorrection
from trainers.records.steps import StepLabels
from trainers.records.texts import Correction, Demonstration
from trainers.records.trl import from_trl, to_trl

__all__ = [
    "CRITERION",
    "KINDS",
    "OUTCOMES",
    "POINTS",
    "RANKED",
    "ROLES",
    "ClipPair",
    "Correction",
    "Critique",
    "Demonstration",
    "Drive",
    "EpisodeMark",
    "Json",
    "LanguageCorrection",
    "Message",
    "Outcome",
    "Pair",
    "Prompt",
    "Ranking",
    "Rating",
    "Record",
    "RecordError",
    "RecordType",
    "Span",
    "StepLabels",
    "canonical",
    "decoded",
    "dumps",
    "from_trl",
    "parse",
    "prompt_json",
    "prompt_text",
    "read_row",
    "read_span",
    "to_trl",
]
