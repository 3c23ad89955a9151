"""What every test of training may count on."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_is_kept_for_later_runs(tmp_path, monkeypatch):
    """No test finds what another one computed, and none writes to the cache of whoever runs the tests."""
    monkeypatch.setenv("KIBITZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KIBITZ_CACHE_GB", "0")
