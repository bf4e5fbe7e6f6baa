{#- Restart corosync on all nodes, the layout stays, and then ask the exit checklist, HA's item with it:
    salt-run state.orchestrate orch.restart

    Pillar, all optional: layout, skip, force, cluster. With test=True it shows the plan, and writes nothing. #}
{%- set given = {} %}
{%- for key in ('layout', 'skip', 'force', 'cluster') %}
{%-   set value = salt['pillar.get'](key, none) %}
{%-   if value %}{% do given.update({key: value}) %}{% endif %}
{%- endfor %}
{%- set checklist = {} %}
{%- for key in ('layout', 'skip', 'force', 'cluster') if key in given %}{% do checklist.update({key: given[key]}) %}{% endfor %}
1 restart corosync:
  corosync_run.phase:
    - function: restart
    - orchestration: restart
    - arguments: {{ given | json }}
    - failhard: true

2 exit checklist:
  corosync_run.phase:
    - function: verify
    - orchestration: restart
    - arguments: {{ checklist | json }}
