"""Four of the fault campaign's runs: whatever is killed or hangs, the same command reaches the layout."""

from tests import faults

RUNS = [
    ("planned", "kill salt-run", "pve1", 6, 0.4),
    ("failover", "hang pmxcfs", "pve2", 5, 0),
    ("planned", "kill minion", "pve2", 5, 1.2),
    ("failover", "kill pmxcfs", "pve1", 6, 0.4),
]


def test_a_short_campaign_of_faults_ends_right(lab):
    campaign = faults.Campaign(lab)
    rows = campaign.run(len(RUNS), RUNS)
    print("\n".join(faults.summary(rows)))
    assert [row["verdict"] for row in rows].count(faults.NEVER) == 0, rows
    assert all(row["event"] for row in rows), "every harm was done while the command ran"
    lab.reset(force=True)
