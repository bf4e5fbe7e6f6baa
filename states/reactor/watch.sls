{#- The watch of a cluster: an event of the beacon `corosync` starts a look at the cluster. On the master:

        reactor:
          - 'salt/beacon/*/corosync/*':
            - salt://reactor/watch.sls

    The event is a hint and proves nothing; it is dropped where a look is under way or nothing calls for one. docs/watch.md. #}
{%- if data.get('id') %}
look at the cluster:
  runner.corosync_heard.event:
    - args:
      - minion: {{ data['id'] | string | json }}
      - kind: {{ tag.rpartition('/')[2] | json }}
      - wrong: {{ (data.get('wrong') or []) | length > 0 }}
{%- endif %}
