"""From a snapshot's records to batches: reading, splitting by prompt, and an order that can be resumed."""

from trainers.data.batches import Batches
from trainers.data.demonstrations import demonstrated
from trainers.data.lazy import Lazy, each, flattened
from trainers.data.preferences import Preference, preferences
from trainers.data.snapshot import Records, prompts, read_records
from trainers.data.split import split

__all__ = [
    "Batches",
    "Lazy",
    "Preference",
    "Records",
    "demonstrated",
    "each",
    "flattened",
    "preferences",
    "prompts",
    "read_records",
    "split",
]
