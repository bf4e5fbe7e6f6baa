{#- An example: what the watch says goes to a webhook, as JSON. On the master:

        reactor:
          - 'corosync/*/watch/*':
            - salt://reactor/webhook.sls
        pve_corosync_webhook: https://chat.example/hooks/…

    The same way fits mail (`smtp.send_msg` of Salt 3006) or any other runner. The event is of this master itself; one that a
    minion sent has `cmd`, and is dropped. #}
{%- set url = opts.get('pve_corosync_webhook') %}
{%- if url and not data.get('cmd') %}
{%- set text = (data.get('cluster') or '?') ~ ': ' ~ (data.get('text') or data.get('summary') or tag) %}
tell the webhook:
  runner.http.query:
    - args:
      - url: {{ url | json }}
      - method: POST
      - header_dict: {Content-Type: application/json}
      - data: {{ {'text': text, 'tag': tag, 'code': data.get('code') or ''} | json | json }}
      - raise_error: false
{%- endif %}
