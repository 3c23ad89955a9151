"""From a snapshot's records to batches: reading, splitting by prompt, and an order that can be resumed."""

from trainers.data.batches import Batches
from trainers.data.preferences import Preference, preferences
from trainers.data.snapshot import prompts, read_records
from trainers.data.split import split

__all__ = ["Batches", "Preference", "preferences", "prompts", "read_records", "split"]
