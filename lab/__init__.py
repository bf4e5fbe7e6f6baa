"""A cluster of real Corosync daemons on one machine, for people and for tests."""
