{#- Restart corosync on all nodes, the layout stays:  salt-run state.orchestrate orch.restart

    Pillar, all optional: layout, skip, force, cluster. A dry run is  salt-run corosync.restart test=True #}
restart corosync:
  salt.runner:
    - name: corosync.restart
{%- for key in ('layout', 'skip', 'force', 'cluster') %}
{%-   set value = salt['pillar.get'](key, none) %}
{%-   if value %}
    - {{ key }}: {{ value | json }}
{%-   endif %}
{%- endfor %}
    - brief: true
