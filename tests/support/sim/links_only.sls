{#- The first phase alone: the simulated nodes have no more than links. #}
links:
  salt.runner:
    - name: corosync.apply
    - layout: {{ salt['pillar.get']('layout', 'degraded') | json }}
    - brief: true
