"""The environment of the commands that read the function's settings."""

import pytest

from function.settings import Settings
from tests.support.audits import SETTINGS


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the required settings and no others."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
