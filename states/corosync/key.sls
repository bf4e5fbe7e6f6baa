# The key of the cluster is for root's eyes only. Its content is never touched here: a join brings it.
/etc/corosync/authkey:
  corosync.authkey_managed: []
