"""The codes of the watch: what it does about a cluster, or why it does nothing.

Data only; see :mod:`.codes`.
"""

from pve_corosync.codes.words import ERROR, INFO, WARNING

HERE = "this project"

TABLE = {
    "Watch": [
        ("watch-value", ERROR, False, "A value of the pillar `corosync:watch` that is not allowed.", HERE),
        # acts
        ("watch-failover", WARNING, False, "The cluster is taken to the failover layout.", HERE),
        ("watch-go-on", WARNING, False, "A move that ended half-way is gone on with.", HERE),
        ("watch-home", WARNING, False, "The cluster is taken back to the pillar's layout.", HERE),
        ("watch-home-ready", WARNING, False, "The way home is free; the command for it is named.", HERE),
        # waits
        ("watch-second-look", INFO, False, "Links are dead; they are looked at again before acting.", HERE),
        ("watch-healing", INFO, False, "The network is back, and not yet for long enough.", HERE),
        ("watch-busy", INFO, False, "Corosync of a node answers nobody for a moment: asked again.", HERE),
        ("watch-back-off", WARNING, False, "A try failed; the next one is not due yet.", HERE),
        # does nothing
        ("watch-healthy", INFO, False, "Nothing is wrong that a layout could help.", HERE),
        ("watch-only-tells", WARNING, False, "The pillar names no layout for a failover.", HERE),
        ("watch-paused", INFO, False, "An operator paused the watch.", HERE),
        ("watch-run-under-way", INFO, False, "A run is under way: it goes first.", HERE),
        (
            "watch-silent",
            WARNING,
            False,
            "A node does not answer: it may be dead, or the master cut off.",
            HERE,
        ),
        ("watch-daemon", WARNING, False, "Corosync of a node is stopped or hangs.", HERE),
        ("watch-fresh", INFO, False, "A daemon has only just begun: its dead links prove nothing.", HERE),
        ("watch-disagree", WARNING, False, "Two nodes see the links between them differently.", HERE),
        (
            "watch-backup-dead",
            WARNING,
            False,
            "A link is dead, and neither quorum nor primary hang on it.",
            HERE,
        ),
        ("watch-same-network", WARNING, False, "The failover layout has the dead network as primary.", HERE),
        (
            "watch-nothing-left",
            ERROR,
            False,
            "The failover layout is in force, and its links are dead.",
            HERE,
        ),
        ("watch-between", WARNING, False, "No layout of the pillar is in force, and quorum is there.", HERE),
        ("watch-by-hand", INFO, False, "The layout in force was chosen by somebody else: it stays.", HERE),
        ("watch-unseen", INFO, False, "No link of the layout in force shows the network to return to.", HERE),
        ("watch-too-many", ERROR, False, "As many failovers in 24 hours as the pillar allows.", HERE),
        ("watch-pillar", ERROR, False, "The pillar is wrong: nothing is looked at until it is right.", HERE),
        ("watch-ha", ERROR, False, "The plan's loss is above what HA's watchdog leaves.", HERE),
        ("watch-refused", ERROR, False, "The move was refused or failed; its report says why.", HERE),
    ],
}
