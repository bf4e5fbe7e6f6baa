import pytest
import salt._logging.impl
from _two_nodes import Pair


@pytest.fixture(scope="session", autouse=True)
def _no_deferred_log():
    """Salt keeps early log records for a stderr that pytest has closed by the time it prints them."""
    salt._logging.impl.shutdown_temp_handler()


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two nodes of recorded tools; the code runs on pve1."""
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    return Pair(tmp_path, monkeypatch)
