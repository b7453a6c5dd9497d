#!/bin/bash
# kubeadm without what only a real kubelet can do. Its own phases make all certificates, manifests and cluster objects; the
# node's kubelet runs the manifests meanwhile.
set -eu
real=@PROGRAMS@/kubeadm
case "${1:-} ${2:-}" in
  "init phase"|"join phase"|"config images"|"version "*) exec "$real" "$@" ;;
esac
verb=$1
shift
config=
while [ $# -gt 0 ]; do
  case "$1" in
    --config) config=$2; shift ;;
    --config=*) config=${1#--config=} ;;
  esac
  shift
done

phase() { echo "+ kubeadm $verb phase $*"; "$real" "$verb" phase "$@" --config "$config"; }

# Like kubeadm itself: until the load balancer knows the node, its own API server is asked.
locally() {
  cp /etc/kubernetes/admin.conf /tmp/admin.conf
  cp "${1:-/etc/kubernetes/admin.conf}" /tmp/local.conf
  sed -i 's#server: .*#server: https://127.0.0.1:443#' /tmp/local.conf
  cp /tmp/local.conf /etc/kubernetes/admin.conf
}
through_the_load_balancer() { cp /tmp/admin.conf /etc/kubernetes/admin.conf; }

case "$verb" in
  init)
    phase certs all
    phase kubeconfig all
    phase etcd local
    phase control-plane all
    locally /etc/kubernetes/super-admin.conf
    @LAB@ inside wait-api --kubeconfig /etc/kubernetes/admin.conf --cluster-admins
    phase upload-config kubeadm
    phase upload-config kubelet
    phase mark-control-plane
    # What joining nodes are told is the load balancer's name, so this goes through it, once it knows the node.
    through_the_load_balancer
    cp /etc/kubernetes/super-admin.conf /etc/kubernetes/admin.conf
    @LAB@ inside wait-api --kubeconfig /etc/kubernetes/admin.conf
    phase bootstrap-token
    through_the_load_balancer
    ;;
  join)
    if [ -e "@RUN@/join-fails" ]; then echo "error execution phase preflight: the lab wants it" >&2; exit 1; fi
    phase control-plane-prepare certs
    phase control-plane-prepare kubeconfig
    phase control-plane-prepare control-plane
    phase etcd-join
    locally
    @LAB@ inside wait-api --kubeconfig /etc/kubernetes/admin.conf
    phase control-plane-join mark-control-plane
    through_the_load_balancer
    ;;
  *) exec "$real" "$verb" "$@" ;;
esac
