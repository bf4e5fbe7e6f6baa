"""Words of reports and of what is kept: the severities of a finding, worst first, and the acts of a step."""

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)
ACTS = ("local", "publish", "cluster", "restart")
