{#- Restart corosync on all nodes, the layout stays:  salt-run state.orchestrate orch.restart

    Pillar, all optional: layout, skip, force, cluster. With test=True it shows the plan, and writes nothing. #}
{%- set given = {} %}
{%- for key in ('layout', 'skip', 'force', 'cluster') %}
{%-   set value = salt['pillar.get'](key, none) %}
{%-   if value %}{% do given.update({key: value}) %}{% endif %}
{%- endfor %}
restart corosync:
  corosync_run.phase:
    - function: restart
    - orchestration: restart
    - arguments: {{ given | json }}
