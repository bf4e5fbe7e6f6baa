{#- To the layout `degraded`, quorum first:  salt-run state.orchestrate orch.failover

    Pillar, all optional: layout, skip, force, strategy, cluster, and replication_timeout, the
    seconds to wait for one replication job (one at work then is left running). Example:
      salt-run state.orchestrate orch.failover pillar='{"skip": ["pve3"]}'
    Run again, it does only what is still open. With test=True it shows the plan and the diffs, and writes nothing.
    A key that is none of these is refused.
    `cluster` may be a list, or `needed` for all that need it: those go side by side (docs/fleet.md). #}
{%- set cluster = salt['pillar.get']('cluster', none) %}
{%- if cluster == 'needed' or (cluster is sequence and cluster is not string) %}
{%-   from 'orch/many.jinja' import many with context %}
{{ many('failover') }}
{%- else %}
{%- from 'orch/phases.jinja' import phases with context %}
{{ phases(salt['pillar.get']('layout', 'degraded'), 'failover') }}
{%- endif %}
