"""A plan for the eyes of the operator: as text, and as diffs of the files."""

import re

from pve_corosync import conf

#: a line of a diff that may show totem.key, which is the cluster's key itself (corosync.conf(5)).
_SECRET = re.compile(r"(?m)^([ +-]\s*key\s*:).*$")


def describe(plan):
    """
    Return a plan as text for the operator: the way, each step with its cost, and what was found.

    plan
        As ``plan.planner.plan`` returns it.
    """
    lines = [f"{plan['cluster']}: layout {plan['layout']}, strategy {plan['strategy']}, path {plan['path']}"]
    if len(plan["partitions"]) > 1:
        lines.append("partitions: " + " / ".join(", ".join(group) for group in plan["partitions"]))
    if not plan["steps"]:
        done = plan["complete"] and plan["path"] == "none"
        lines.append("nothing to do, the layout is reached" if done else "no steps")
    for step in plan["steps"]:
        who = f" on {', '.join(step['nodes'])}" if step.get("nodes") else ""
        links = ", ".join(
            f"{n}:{network}" for n, network in sorted((int(n), w) for n, w in step["links"].items())
        )
        lines.append(f"{step['number']}. {step['act']}{who}, version {step['version']}: {step['text']}")
        lines.append(f"   links then: {links}; at most {step['deadline_s']} s; {step['cost']}")
    if plan["steps"]:
        lines.append(
            f"version {plan['from_version']} -> {plan['to_version']}, expected loss of quorum: "
            f"{plan['expected_loss_s']:.1f} s" + ("" if plan["complete"] else ", the layout is not reached")
        )
    for item in plan["findings"]:
        lines.append(f"{item['severity']}: {item['text']} [{item['code']}]")
        if item["remedy"]:
            lines.append(f"   -> {item['remedy']}")
    return "\n".join(lines)


def diffs(plan, observed):
    """
    Return ``{node or "cluster": unified diff}`` from each copy to the last file of the plan; equal ones are
    left out, and what is secret in them.

    plan, observed
        As in ``plan.planner.plan``.
    """
    if not plan["steps"]:
        return {}
    last, result = plan["steps"][-1]["conf"], {}
    for node, facts in sorted((observed.get("nodes") or {}).items()):
        if node in plan["skip"]:
            continue
        result[node] = conf.diff((facts.get("local") or {}).get("text") or "", last)
        if facts.get("cluster_file"):
            shown = conf.diff(facts["cluster_file"]["text"], last, "/etc/pve/corosync.conf")
            result["cluster"] = result.get("cluster") or shown
    return {name: _SECRET.sub(r"\1 (secret)", text) for name, text in result.items() if text}
