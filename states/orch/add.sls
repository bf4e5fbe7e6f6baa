{#- Let a new node of the pillar join:  salt-run state.orchestrate orch.add pillar='{"node": "pve4"}'

    The node must be freshly installed, with its name, its addresses and its Salt minion; docs/rebuild.md has what to do
    before. `cluster` is optional. With test=True it tells what it would do, and does nothing. A new node joins as one
    that comes back: the function is the same. #}
{%- set node = salt['pillar.get']('node', '') %}
{%- set given = {'node': node} %}
{%- if pillar.get('cluster') %}{% do given.update({'cluster': pillar['cluster']}) %}{% endif %}
let the node join:
{%- if node and node is string %}
  corosync_run.phase:
    - function: rebuild
    - orchestration: add
    - arguments: {{ given | json }}
{%- else %}
  test.fail_without_changes:
    - name: >-
        which node? Give its name in the pillar:
        salt-run state.orchestrate orch.add pillar='{"node": "pve4"}'
{%- endif %}
