{#- Take a node out for good:  salt-run state.orchestrate orch.remove pillar='{"node": "pve3"}'

    The node must be off. `cluster` and `force` are optional. With test=True it tells what it would do, and does nothing. #}
{%- set node = salt['pillar.get']('node', '') %}
{%- set given = {'node': node} %}
{%- for key in ('cluster', 'force') if pillar.get(key) %}{% do given.update({key: pillar[key]}) %}{% endfor %}
take the node out:
{%- if node and node is string %}
  corosync_run.phase:
    - function: remove
    - orchestration: remove
    - arguments: {{ given | json }}
{%- else %}
  test.fail_without_changes:
    - name: >-
        which node? Give its name in the pillar:
        salt-run state.orchestrate orch.remove pillar='{"node": "pve3"}'
{%- endif %}
