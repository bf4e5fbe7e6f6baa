{#- The links of the layout that the pillar names. One node makes the change for all, the others wait for it.
    Without quorum nothing is touched, unless the pillar says `corosync_degraded: true`. #}
links of the cluster:
  corosync.ring_layout:
    - degraded: {{ salt['pillar.get']('corosync_degraded', false) | json }}
