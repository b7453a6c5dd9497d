//! The files of the migration Secret: the script that joins the first node's etcd to the vintage cluster's, and the health
//! endpoint that the vintage load balancers ask.

use std::collections::BTreeMap;

use crate::Partition;

/// Key of the join script in the Secret.
pub const JOIN_KEY: &str = "join-etcd-cluster";
/// Key of the health endpoint's static pod in the Secret.
pub const API_HEALTHZ_KEY: &str = "api-healthz-vintage-pod";
/// Where the script lies on the node.
pub(super) const JOIN_PATH: &str = "/migration/join-etcd-cluster.sh";

/// Contents of the Secret by key, for a cluster whose vintage etcd has the name `etcd`. No key material.
pub fn files(etcd: &str, partition: Partition) -> BTreeMap<String, String> {
    let registry = registry(partition);
    [
        (JOIN_KEY, JOIN_SCRIPT.replace("@ETCD@", etcd)),
        (API_HEALTHZ_KEY, API_HEALTHZ.replace("@REGISTRY@", registry)),
    ]
    .into_iter()
    .map(|(key, text)| (key.to_owned(), text))
    .collect()
}

/// Where images come from: nothing outside the partition may be needed to boot.
pub(crate) fn registry(partition: Partition) -> &'static str {
    match partition {
        Partition::Aws | Partition::AwsUsGov => "gsoci.azurecr.io/giantswarm",
        Partition::AwsCn => "giantswarm-registry.cn-shanghai.cr.aliyuncs.com/giantswarm",
    }
}

/// Runs before kubeadm on every control-plane node and acts on the one that initialises.
///
/// * The member is found by its peer URL, never by counting, so that a second run goes on where the first stopped, and an
///   unstarted member of an earlier instance is removed first.
/// * It joins as a learner: a voting member that has not started would raise the quorum, which a single-master cluster
///   could not survive. A small unit promotes it once it has caught up.
/// * etcdctl comes with the etcd image that kubeadm needs anyway; nothing is downloaded from elsewhere.
const JOIN_SCRIPT: &str = r#"#!/bin/bash
set -o errexit -o nounset -o pipefail

# kubeadm join on the other nodes adds their members itself.
grep -q 'kubeadm init' /etc/kubeadm.sh || exit 0

endpoint=https://@ETCD@:2379
name=${COREOS_EC2_HOSTNAME}
peer=https://${COREOS_EC2_IPV4_LOCAL}:2380
pki=/etc/kubernetes/pki/etcd
image=$(kubeadm config images list --config /etc/kubeadm.yml 2>/dev/null | grep '/etcd:')

kubeadm init phase certs etcd-healthcheck-client
ctr -n k8s.io images pull "$image" >/dev/null

cat >/migration/etcdctl <<EOF
#!/bin/bash
exec ctr -n k8s.io run --rm --net-host --mount type=bind,src=$pki,dst=$pki,options=rbind:ro $image etcdctl-\$RANDOM \
  etcdctl --endpoints=\${ENDPOINT:-$endpoint} --cacert=$pki/ca.crt \
  --cert=$pki/healthcheck-client.crt --key=$pki/healthcheck-client.key "\$@"
EOF
chmod 0700 /migration/etcdctl
etcdctl=/migration/etcdctl

# id, status, name, peer URL, client URL, learner
members() { "$etcdctl" member list --write-out=simple | sed 's/, /,/g'; }

members | while IFS=, read -r id status _ url _; do
  if [ "$status" = unstarted ] && [ "$url" != "$peer" ]; then "$etcdctl" member remove "$id"; fi
done
if ! members | cut -d, -f4 | grep -qxF "$peer"; then
  "$etcdctl" member add "$name" --learner --peer-urls="$peer"
fi

cluster=$(members | while IFS=, read -r _ _ member url _; do
  [ "$url" = "$peer" ] && member=$name
  printf '%s=%s,' "$member" "$url"
done)

mkdir -p /etc/kubernetes/patches
cat >/etc/kubernetes/patches/etcd0+json.json <<EOF
[
  {"op": "add", "path": "/spec/containers/0/command/-", "value": "--initial-cluster=${cluster%,}"},
  {"op": "add", "path": "/spec/containers/0/command/-", "value": "--initial-cluster-state=existing"}
]
EOF

cat >/migration/promote-etcd-member.sh <<EOF
#!/bin/bash
id=\$($etcdctl member list --write-out=simple | sed 's/, /,/g' | awk -F, -v peer='$peer' '\$4 == peer && \$6 == "true" {print \$1}')
[ -z "\$id" ] || $etcdctl member promote "\$id"
EOF
chmod 0700 /migration/promote-etcd-member.sh
# etcd refuses to promote a learner that lags, so the unit simply tries again.
systemd-run --unit=promote-etcd-member --property=Type=oneshot --property=Restart=on-failure \
  --property=RestartSec=2s --property=StartLimitIntervalSec=0 --no-block \
  /bin/bash -c 'until [ -e /etc/kubernetes/manifests/etcd.yaml ]; do sleep 1; done; sleep 5; /migration/promote-etcd-member.sh'
"#;

/// The endpoint that the vintage load balancers ask: healthy as long as any HTTP exchange with the local API completes.
const API_HEALTHZ: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: k8s-api-healthz
  namespace: kube-system
  labels:
    app.kubernetes.io/name: k8s-api-healthz
spec:
  hostNetwork: true
  priorityClassName: system-node-critical
  containers:
  - name: k8s-api-healthz
    image: @REGISTRY@/k8s-api-healthz:0.2.0
    args:
    - --etcd-cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt
    - --etcd-key=/etc/kubernetes/pki/etcd/healthcheck-client.key
    - --etcd-ca-cert=/etc/kubernetes/pki/etcd/ca.crt
    resources:
      requests: {cpu: 50m, memory: 20Mi}
    volumeMounts:
    - {name: etcd-certs, mountPath: /etc/kubernetes/pki/etcd, readOnly: true}
  volumes:
  - {name: etcd-certs, hostPath: {path: /etc/kubernetes/pki/etcd}}
";
