#!/bin/bash
# The only rules that nodes set: what arrives at 6443 goes to 443. The node's kubelet carries that out.
set -eu
case "$*" in
  *"--dport 6443 -j REDIRECT --to-port 443"*) touch @RUN@/redirect-6443 ;;
  *) echo "iptables: the lab knows no such rule: $*" >&2; exit 1 ;;
esac
