{#- Bring a reinstalled node back:  salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'

    The node must be freshly installed, with its name, its addresses and its Salt minion; docs/rebuild.md has what to do
    before. `cluster` is optional. A dry run is  salt-run corosync.rebuild pve2 test=True #}
{%- set node = salt['pillar.get']('node', '') %}
bring the node back:
{%- if node and node is string %}
  salt.runner:
    - name: corosync.rebuild
    - node: {{ node | json }}
{%-   if pillar.get('cluster') %}
    - cluster: {{ pillar['cluster'] | json }}
{%-   endif %}
    - brief: true
{%- else %}
  test.fail_without_changes:
    - name: >-
        which node? Give its name in the pillar:
        salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'
{%- endif %}
