#!/bin/bash
# containerd: images are there, and a container of etcd's image is etcdctl.
set -eu
while [ $# -gt 0 ]; do
  case "$1" in
    pull) exit 0 ;;
    etcdctl) shift; exec @PROGRAMS@/etcdctl "$@" ;;
  esac
  shift
done
echo "ctr: the lab knows no such container" >&2
exit 1
