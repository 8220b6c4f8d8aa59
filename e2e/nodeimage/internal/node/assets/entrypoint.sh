#!/bin/bash
# The kubelet sets these machine-wide sysctls when they differ from what it wants. A node in a container must not change
# its host: show the kubelet, in this container's mount namespace only, files that already hold the wanted values.
set -e
mkdir -p /kind/sysctl
i=0
for kv in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  f=/kind/sysctl/$((i++))
  echo "${kv#*=}" >$f
  mount --bind $f /proc/sys/${kv%%=*}
done
exec /usr/local/bin/entrypoint "$@"
