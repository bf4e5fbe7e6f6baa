{#- Back to the layout that the pillar of the nodes wants:  salt-run state.orchestrate orch.nominal

    Pillar, all optional: layout, skip, force, strategy, cluster, replication_timeout. Refused while the network to return to is not
    healthy on every pair of nodes; the output shows which. With test=True it shows the plan, and writes nothing.
    `cluster` may be a list: those go side by side (docs/fleet.md). #}
{%- set cluster = salt['pillar.get']('cluster', none) %}
{%- if cluster == 'needed' or (cluster is sequence and cluster is not string) %}
{%-   from 'orch/many.jinja' import many with context %}
{{ many('nominal') }}
{%- else %}
{%- from 'orch/phases.jinja' import phases with context %}
{{ phases(salt['pillar.get']('layout', none), 'nominal') }}
{%- endif %}
