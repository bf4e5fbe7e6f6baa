{#- Corosync's UDP ports and ssh: open between the nodes on every network of the pillar, closed to everyone else.
    corosync:firewall: {management: [CIDR, …], ssh: peers|open} is optional; without management, ssh stays possible
    for the Salt master and for who has a session open at the first run. #}
{%- set corosync = pillar['corosync'] %}
{%- set firewall = corosync.get('firewall', {}) %}
{%- set networks = {} %}
{%- for node, row in corosync['nodes'].items() %}
{%-   for network, address in row['addresses'].items() %}
{%-     do networks.setdefault(network, {}).update({node: address}) %}
{%-   endfor %}
{%- endfor %}

corosync-firewall:
  pve_firewall.managed:
    - networks: {{ networks | json }}
    - ssh: {{ firewall.get('ssh', 'peers') }}
{%- if firewall.get('management') %}
    - management: {{ firewall['management'] | json }}
{%- endif %}
