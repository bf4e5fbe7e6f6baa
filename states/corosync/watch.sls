{#- The beacon `corosync`, where the pillar has `corosync:watch` (a mapping, `{}` for events only; `false` takes it out).
    It is kept in the minion's own configuration: a beacon from the pillar would need two refreshes on Salt 3006 before it
    runs. It runs at once, and again after a restart of the minion; docs/watch.md says what it tells. -#}
{%- set watch = salt['pillar.get']('corosync:watch', false) %}
watch of corosync:
{%- if watch is mapping %}
  beacon.present:
    - name: corosync
    - save: true
    - interval: 1
    - again: 10
    - alive: 60
    - retry:  # a beacon that came with this very highstate is not known to the minion for a moment
        attempts: 12
        interval: 5
{%- else %}
  beacon.absent:
    - name: corosync
    - save: true
{%- endif %}
