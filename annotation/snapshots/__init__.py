"""Labels, read out with where they come from, and frozen into files that never change."""

from annotation.snapshots.frozen import FORMAT, Damaged, freeze, lines_of, manifest_of, verify
from annotation.snapshots.reading import FILTERS, Process, read

__all__ = ["FILTERS", "FORMAT", "Damaged", "Process", "freeze", "lines_of", "manifest_of", "read", "verify"]
