"""Find a cluster among the minions of a master with as few pillars compiled as that takes.

A pillar costs the master between 0.06 s and more than a second, and a fleet has hundreds. So the index
(:mod:`pve_corosync.ports.index`) says where to look first, and one pillar of the cluster proves it right.
Where it is wrong, or does not know the cluster, all pillars are looked at as if there were none.
"""

from __future__ import annotations

import contextlib

from pve_corosync import arguments
from pve_corosync.findings import finding
from pve_corosync.pillar import layouts
from pve_corosync.ports import index


class Look:
    """One look for a cluster.

    :param keys: the accepted keys that can be nodes.
    :param known: ``{minion: cluster or None}``, what the index says.
    :param compiled: ``(minion id) -> pillar``.
    :param where: what the keys are, for an error.
    """

    def __init__(self, keys, known: dict, compiled, where: str):
        self.keys, self.where, self._compiled = sorted(keys), where, compiled
        present = set(self.keys)
        #: what the index is to say after the look; a key that is no longer there is forgotten
        self.known = {minion: name for minion, name in known.items() if minion in present}
        #: ``{minion: (cluster, pillar corosync) or None}`` of this look
        self.seen: dict = {}
        #: ``{minion: why parts of its pillar could not be compiled}``
        self.broken: dict = {}
        self.findings: list = []
        self.healed = False

    def find(self, wanted):
        """Return name and pillar of the cluster.

        :param wanted: the name that the operator gave, or None where there is to be one only.
        :raises arguments.RunError: none, several, not the wanted one, or a disputed one.
        """
        wanted = None if wanted is None else str(wanted)
        found = self._by_index(wanted)
        known = found is not None
        if not known:
            found = self._everywhere(wanted)
        if wanted is not None and wanted not in found:
            # a minion that a pillar names as its node may have another pillar by now
            found |= self._claims(self.keys)
        if not found and self.broken:
            raise arguments.RunError(self._unrendered(self.broken))
        try:
            name = arguments.choose_cluster(found, wanted, f"none of {self.where}")
        except arguments.RunError as exc:
            # the wanted one may be that of a pillar that could not be compiled
            lost = [minion for minion in self.broken if self.seen[minion] is None]
            raise arguments.RunError([*exc.findings, *self._unrendered(lost)], exc.retcode) from exc
        own = self._undisputed(name, found[name], known)
        self.findings += self._unrendered(self._concerned(name, own), _severity(own))
        return name, own

    def all(self) -> dict:
        """Return ``{minion: cluster}`` of every minion of any cluster; only those are looked at of which the
        index knows nothing."""
        self._claims([minion for minion in self.keys if minion not in self.known], cover=True)
        return {minion: name for minion, name in sorted(self.known.items()) if name is not None}

    def _by_index(self, wanted):
        """Return what the index leads to, ``{cluster: [minions that claim it]}``; None where it cannot
        answer."""
        found: dict = {}
        for name in sorted(set(filter(None, self.known.values()))) if wanted is None else [wanted]:
            for minion in [minion for minion in self.keys if self.known.get(minion) == name]:
                if self._is_node(minion, name):
                    found[name] = [minion]
                    break
            if len(found) > 1 and not self.healed:
                # several for sure; the names of the others are only told
                return {name: [] for name in filter(None, self.known.values())}
        if wanted is not None:
            return found or None
        new = [minion for minion in self.keys if minion not in self.known]
        for name, minions in self._claims(new).items():
            found.setdefault(name, []).extend(minions)
        return None if self.healed or not found else found

    def _everywhere(self, wanted):
        """Return ``{cluster: [minions that claim it]}``, where the index does not help: first of the minions
        that it does not have, then of all others."""
        found = self._claims([minion for minion in self.keys if minion not in self.known], cover=True)
        if wanted is None or wanted not in found:
            for name, minions in self._claims(self.keys, cover=True).items():
                found[name] = sorted({*found.get(name, ()), *minions})
        if wanted is None and len(found) == 1:
            # the only one for sure: a pillar could name the nodes of others
            return self._claims(self.keys)
        return found

    def _claims(self, minions, cover=False):
        """Return ``{cluster: [minions whose pillar is of it]}``.

        :param cover: leave out the nodes of a cluster that was found.
        """
        found: dict = {}
        covered: set = set()
        for minion in list(minions):
            if minion in covered and minion not in self.seen:
                continue
            seen = self._look(minion)
            if seen is not None:
                found.setdefault(seen[0], []).append(minion)
                covered.update(arguments.members(seen[1]).values() if cover else ())
        return found

    def _is_node(self, minion, name):
        """Tell whether a minion's pillar is of that cluster and has the minion for a node."""
        seen = self._look(minion)
        return seen is not None and seen[0] == name and minion in arguments.members(seen[1]).values()

    def _look(self, minion):
        """Return ``(cluster, pillar corosync)`` of a minion, None without; correct the index."""
        if minion in self.seen:
            return self.seen[minion]
        pillar = layouts.plain(self._compiled(minion)) or {}
        own = pillar.get("corosync")
        if pillar.get("_errors"):
            self.broken[minion] = str(pillar["_errors"][0])
            if own is None:
                self.seen[minion] = None
                return None
        name = None if own is None else str(own.get("cluster_name")) if isinstance(own, dict) else "?"
        self.seen[minion] = None if own is None else (name, own)
        self._learn(minion, name, arguments.members(own).values())
        return self.seen[minion]

    def _concerned(self, name, own):
        """Return the minions with a broken pillar that are of a cluster, by its pillar or by their own."""
        members = set(arguments.members(own).values())
        return [
            minion
            for minion in self.broken
            if minion in members or (self.seen[minion] is not None and self.seen[minion][0] == name)
        ]

    def _unrendered(self, minions, severity="error"):
        """Return the findings on broken pillars; minions that say the same are one finding."""
        said: dict = {}
        for minion in sorted(minions):
            said.setdefault(self.broken[minion], []).append(minion)
        return [
            finding(
                "pillar-render",
                f"pillar of {', '.join(have)}: {text}",
                severity=severity,
                data={"minions": have},
                remedy=f"correct it; salt-run pillar.show_pillar {have[0]}",
            )
            for text, have in said.items()
        ]

    def _learn(self, minion, name, members):
        """Note what a pillar says of its minion, and of the nodes it names as far as nothing else is known of
        them: a pillar does not speak for the nodes of others."""
        before = self.known.get(minion)
        self.healed |= minion in self.known and before != name
        self.known[minion] = name
        for member in members:
            if member in self.keys and member not in self.seen and self.known.get(member) in (None, before):
                self.known[member] = name

    def _undisputed(self, name, minions, known):
        """Return the pillar of a cluster; where pillars of one name have other nodes, the one that most of
        the minions named in them have.

        :param minions: those whose pillar is of that cluster.
        :param known: the index had the cluster, so that one pillar is enough where nobody disputes it.
        :raises arguments.RunError: as many have one as have another.
        """
        claims: dict = {}
        for minion in minions:
            own = self.seen[minion][1]
            claims.setdefault(_nodes(own), []).append(minion)
        if len(claims) > 1 or not known:
            named = {member for nodes in claims for _node, member in nodes} | set(minions)
            for minion in sorted(named & set(self.keys) - set(minions)):
                seen = self._look(minion)
                if seen and seen[0] == name:
                    claims.setdefault(_nodes(seen[1]), []).append(minion)
        # a minion that has the pillar and is no node of it, has no voice
        voices = {
            nodes: [minion for minion in have if minion in dict(nodes).values()]
            for nodes, have in claims.items()
        }
        ranked = sorted(claims, key=lambda nodes: -len(voices[nodes]))
        if len(ranked) > 1:
            if len(voices[ranked[0]]) == len(voices[ranked[1]]):
                raise arguments.RunError(_disputed(name, claims, ""))
            taken = voices[ranked[0]][0]
            self.findings.append(_disputed(name, claims, taken))
            for nodes in ranked[1:]:
                for minion in claims[nodes]:
                    self.known.pop(minion, None)  # so that every look sees the dispute
        return self.seen[(voices[ranked[0]] or claims[ranked[0]])[0]][1]


def _severity(own):
    """Return how bad it is that a part of the cluster's pillar could not be compiled.

    A warning where the key `corosync` passes its own checks all the same: a typing error in a file that has
    nothing to do with the cluster must not keep anybody from a failover. Where the key is wrong, what is
    missing in it is likely to be in the part that failed, and nothing can be planned.
    """
    try:
        layouts.load(own)
    except layouts.LayoutError:
        return "error"
    return "warning"


def _nodes(own):
    return tuple(sorted(arguments.members(own).items()))


def _disputed(name, claims, taken):
    """Return the finding on pillars that claim one cluster and name other nodes."""
    said = "; ".join(
        f"{', '.join(have)} {'has' if len(have) == 1 else 'have'} the nodes "
        f"{', '.join(node for node, _minion in nodes) or 'none'}"
        for nodes, have in sorted(claims.items(), key=lambda item: item[1])
    )
    kept = f"; the pillar of {taken} is taken" if taken else "; which one is true cannot be told"
    return finding(
        "cluster-claimed",
        f"pillars of cluster {name!r} name other nodes: {said}{kept}",
        severity="warning" if taken else "error",
        data={"cluster": name, "minions": sorted(minion for have in claims.values() for minion in have)},
        remedy="give all nodes of the cluster the same pillar `corosync`, and nobody else one of its name",
    )


def cluster(master, glob: str, wanted):
    """Find one cluster, and keep what the look taught.

    :param master: a ``ports.master.Master``.
    :param glob: over the accepted keys that can be nodes.
    :param wanted: the cluster's name, or None.
    :returns: (name, pillar ``corosync``, findings).
    :raises arguments.RunError: as :meth:`Look.find`.
    """
    with _look(master, glob) as look:
        name, pillar = look.find(wanted)
    return name, pillar, look.findings


def fleet(master, glob: str, again=()) -> dict:
    """Return ``{minion: cluster}`` of all clusters, and keep what the look taught.

    :param master, glob: as for :func:`cluster`.
    :param again: minions whose entry in the index is wrong: their pillars are compiled.
    """
    with _look(master, glob) as look:
        for minion in again:
            look.known.pop(minion, None)
        return look.all()


@contextlib.contextmanager
def _look(master, glob):
    known = index.read(master.state_dir())
    look = Look(master.accepted(glob, "glob"), known, master.pillar, f"the accepted keys {glob!r}")
    try:
        yield look
    finally:
        if look.known != known:
            index.write(master.state_dir(), look.known)
