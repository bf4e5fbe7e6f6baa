{#- Bring a reinstalled node back:  salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'

    The node must be freshly installed, with its name, its addresses and its Salt minion; docs/rebuild.md has what to do
    before. `cluster` is optional. With test=True it tells what it would do, and does nothing. #}
{%- set node = salt['pillar.get']('node', '') %}
{%- set given = {'node': node} %}
{%- if pillar.get('cluster') %}{% do given.update({'cluster': pillar['cluster']}) %}{% endif %}
bring the node back:
{%- if node and node is string %}
  corosync_run.phase:
    - function: rebuild
    - orchestration: rebuild
    - arguments: {{ given | json }}
{%- else %}
  test.fail_without_changes:
    - name: >-
        which node? Give its name in the pillar:
        salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'
{%- endif %}
