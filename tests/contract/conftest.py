"""What the contract suites share: the cluster of namespaces, healthy at the start of each test."""

import os

import pytest
from contract_nodes import Cluster, have_tools


def pytest_configure(config):
    """Say early what is missing, in place of a hundred errors."""
    if os.getuid():
        raise pytest.UsageError("the contract suites make namespaces and mounts: run them as root")
    missing = have_tools()
    if missing:
        raise pytest.UsageError(
            f"the contract suites need {', '.join(missing)}: apt-get install the packages in tests/run"
        )


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A running cluster of two nodes for a whole module."""
    cluster = Cluster(tmp_path_factory.mktemp("ring"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(ring):
    """The module's cluster, with all networks up and quorate."""
    for node in ring.nodes:
        node.link("vrack", True)
        node.link("public", True)
    ring.wait_healthy()
    return ring


@pytest.fixture
def pve1(cluster):
    """The first node."""
    return cluster.nodes[0]


@pytest.fixture
def pve2(cluster):
    """The second node."""
    return cluster.nodes[1]


@pytest.fixture
def fresh(tmp_path):
    """Two nodes whose daemons are not started; they belong to the test alone."""
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()
