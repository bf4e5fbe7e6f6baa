{#- To the layout `degraded`, quorum first:  salt-run state.orchestrate orch.failover

    Pillar, all optional: layout, skip, force, strategy, cluster. Example:
      salt-run state.orchestrate orch.failover pillar='{"skip": ["pve3"]}'
    A dry run is  salt-run corosync.plan degraded  (test=True does not run runners). #}
reach the degraded layout:
  salt.runner:
    - name: corosync.apply
    - layout: {{ salt['pillar.get']('layout', 'degraded') | json }}
{%- for key in ('skip', 'force', 'strategy', 'cluster') %}
{%-   set value = salt['pillar.get'](key, none) %}
{%-   if value %}
    - {{ key }}: {{ value | json }}
{%-   endif %}
{%- endfor %}
    - brief: true
