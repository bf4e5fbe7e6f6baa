{#- The first phase alone: the simulated nodes have no more than links. #}
links:
  corosync_run.phase:
    - function: apply
    - orchestration: failover
    - arguments: {{ {'layout': salt['pillar.get']('layout', 'degraded')} | json }}
