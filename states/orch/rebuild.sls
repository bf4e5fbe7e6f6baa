{#- Bring a reinstalled node back:  salt-run state.orchestrate orch.rebuild pillar='{"node": "pve2"}'

    The node must be freshly installed, with its name, its addresses and its Salt minion. `cluster` is optional. A dry
    run is  salt-run corosync.rebuild pve2 test=True #}
bring the node back:
  salt.runner:
    - name: corosync.rebuild
    - node: {{ pillar['node'] | json }}
{%- if pillar.get('cluster') %}
    - cluster: {{ pillar['cluster'] | json }}
{%- endif %}
    - brief: true
