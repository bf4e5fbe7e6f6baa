{#- A reinstalled node asks, from its highstate, to be brought back into its cluster. On the master:

        reactor:
          - 'corosync/*/rebuild/*':
            - salt://reactor/rebuild.sls

    `data['id']` names the sender, and proves nothing: any accepted minion can name any. So the runner asks that minion
    for the nonce first. It rebuilds the node that the pillar gives to that minion, and no other; and nothing but an
    empty node. #}
{%- set asked = data.get('data') or {} %}
{%- if data.get('id') and asked.get('node') %}
bring the node back:
  runner.corosync.rebuild_asked:
    - args:
      - minion: {{ data['id'] | json }}
      - node: {{ asked['node'] | json }}
      - nonce: {{ asked.get('nonce') | json }}
{%- endif %}
