#!/bin/bash
# The only rules that nodes set: what arrives at one port, or is asked of the node itself there, goes to another. The node's
# kubelet carries that out.
set -eu
chain= from= to=
all="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    -A) chain=$2; shift ;;
    --dport) from=$2; shift ;;
    --to-port) to=$2; shift ;;
  esac
  shift
done
case "$all" in
  *"--dport $from -j REDIRECT --to-port $to") ;;
  *) echo "iptables: the lab knows no such rule: $all" >&2; exit 1 ;;
esac
# Written beside and moved: whoever reads it reads all of it.
echo "$from $to" > "@RUN@/new-$chain"
mv "@RUN@/new-$chain" "@RUN@/redirect-$chain"
