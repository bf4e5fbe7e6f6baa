import pytest
import salt._logging.impl


@pytest.fixture(scope="session", autouse=True)
def _no_deferred_log():
    """Salt keeps early log records for a stderr that pytest has closed by the time it prints them."""
    salt._logging.impl.shutdown_temp_handler()
