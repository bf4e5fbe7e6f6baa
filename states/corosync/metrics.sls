{#- Metrics of this node as a file for the textfile collector of prometheus-node-exporter, made anew each minute by the minion's
    own schedule. Pillar, optional: corosync_metrics: the file; `false` takes it out. docs/watch.md has the names. -#}
{%- set path = salt['pillar.get']('corosync_metrics', '/var/lib/prometheus/node-exporter/corosync.prom') %}
{%- if path %}
{{ salt['file.dirname'](path) }}:
  file.directory:
    - makedirs: true

metrics of corosync:
  schedule.present:
    - name: pve-corosync-metrics
    - function: corosync.metrics
    - job_args: [{{ path | json }}]
    - seconds: 60
    - return_job: false
    - maxrunning: 1
    - persist: true
{%- else %}
metrics of corosync:
  schedule.absent:
    - name: pve-corosync-metrics
    - persist: true
{%- endif %}
