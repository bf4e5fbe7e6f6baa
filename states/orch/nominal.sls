{#- Back to the layout that the pillar of the nodes wants:  salt-run state.orchestrate orch.nominal

    Pillar, all optional: layout, skip, force, strategy, cluster. Refused while the network to return to is not
    healthy on every pair of nodes; the output shows which. A dry run is  salt-run corosync.plan #}
reach the layout of the pillar:
  salt.runner:
    - name: corosync.apply
{%- for key in ('layout', 'skip', 'force', 'strategy', 'cluster') %}
{%-   set value = salt['pillar.get'](key, none) %}
{%-   if value %}
    - {{ key }}: {{ value | json }}
{%-   endif %}
{%- endfor %}
    - brief: true
