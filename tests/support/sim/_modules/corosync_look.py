"""The look at the simulated daemon."""

__virtualname__ = "corosync_look"


def __virtual__():
    return __virtualname__ if __opts__.get("sim_cluster") else (False, "no sim_cluster in the minion config")


def look(patience=0.3, counts=False):
    return __salt__["corosync.simulated_look"]()
