//! What CAPA reads: identity, AWSCluster, the control plane's machine template.

use serde_json::{Value, json};

use super::{EXTERNAL_RESOURCE_GC, api, metadata};
use crate::{ClusterPlan, Partition, digest, names};

/// Name of the identity, cluster-scoped.
fn identity_name(plan: &ClusterPlan) -> String {
    format!("{}-aws-cluster-role-identity", plan.id)
}

pub(super) fn role_identity(plan: &ClusterPlan) -> Value {
    json!({
        "apiVersion": api::INFRASTRUCTURE,
        "kind": "AWSClusterRoleIdentity",
        "metadata": {
            "name": identity_name(plan),
            "labels": {
                "cluster.x-k8s.io/cluster-name": plan.id,
                "giantswarm.io/cluster": plan.id,
            },
        },
        "spec": {
            "allowedNamespaces": {"list": [plan.namespace]},
            "roleARN": plan.capa_role_arn,
            "sourceIdentityRef": {"kind": "AWSClusterControllerIdentity", "name": "default"},
        },
    })
}

pub(super) fn aws_cluster(plan: &ClusterPlan) -> Value {
    let network = &plan.network;
    let subnets: Vec<Value> = network
        .subnets
        .iter()
        .map(|subnet| {
            let mut spec = json!({
                "id": subnet.id,
                "availabilityZone": subnet.zone,
                "cidrBlock": subnet.cidr,
                "isPublic": subnet.public,
                "routeTableId": subnet.route_table,
            });
            if !subnet.nat_gateway.is_empty() {
                spec["natGatewayId"] = json!(subnet.nat_gateway);
            }
            spec
        })
        .collect();
    let accounts = &plan.service_accounts;
    let trust_domains = accounts
        .issuers
        .iter()
        .chain([&accounts.capi_issuer])
        .map(|issuer| Partition::trust_domain(issuer))
        .collect::<Vec<_>>()
        .join(",");
    let mut tags = plan.tags.clone();
    tags.insert(names::TAG_CLUSTER.to_owned(), plan.id.clone());
    let mut object = json!({
        "apiVersion": api::INFRASTRUCTURE,
        "kind": "AWSCluster",
        "metadata": metadata(plan, &plan.id),
        "spec": {
            "region": plan.region,
            "identityRef": {"kind": "AWSClusterRoleIdentity", "name": identity_name(plan)},
            "bastion": {"enabled": false},
            "controlPlaneLoadBalancer": {
                "scheme": "internet-facing",
                "loadBalancerType": "classic",
                // `/readyz`. Without it CAPA has its port connected to, which an API server takes long before it answers
                // anybody, and without etcd (CAPA 2.13, `elb.getHealthCheckTarget`).
                "healthCheckProtocol": "HTTPS",
            },
            "network": {
                // The VPC has an id and no ownership tag of CAPA's: it stays unmanaged, so CAPA neither rewrites
                // its routes nor deletes it.
                "vpc": {"id": network.vpc, "internetGatewayId": network.internet_gateway},
                "subnets": subnets,
                // Without rules of its own CAPA adds Calico's.
                "cni": {"cniIngressRules": [{
                    "description": "all traffic between nodes",
                    "protocol": "-1", "fromPort": -1, "toPort": -1,
                }]},
            },
            "additionalTags": tags,
            // Bootstrap data has the cluster's keys in it; CAPA keeps Ignition in a bucket and refuses to start machines
            // without one.
            "s3Bucket": {
                "name": names::ignition_bucket(&plan.id, &plan.region),
                "controlPlaneIAMInstanceProfile": names::control_plane_profile(&plan.id),
                "nodesIAMInstanceProfiles": plan
                    .node_pools
                    .iter()
                    .map(|pool| names::nodes_profile(&plan.id, &pool.name))
                    .collect::<Vec<_>>(),
            },
        },
    });
    object["metadata"]["annotations"] = json!({
        "aws.giantswarm.io/vpc-mode": "public",
        "aws.giantswarm.io/irsa-trust-domains": trust_domains,
        EXTERNAL_RESOURCE_GC: "false",
    });
    object
}

/// Templates are immutable, so the name carries a digest of the content.
pub(super) fn machine_template(plan: &ClusterPlan) -> Value {
    let mut machine = json!({
        "instanceType": plan.control_plane.instance_type,
        "iamInstanceProfile": names::control_plane_profile(&plan.id),
        "imageLookupBaseOS": "flatcar-stable",
        "imageLookupFormat": "{{.BaseOS}}-kube-{{.K8sVersion}}-gs",
        // With the vintage group as well, old and new nodes may talk.
        "additionalSecurityGroups": [{"id": plan.network.master_security_group}],
        // Filters instead of one id: a single id would put all machines into one zone.
        "subnet": {"filters": [
            {"name": "vpc-id", "values": [plan.network.vpc]},
            {"name": format!("tag:{}", names::TAG_STACK), "values": [names::STACK_NETWORK]},
            {"name": format!("tag:{}", names::TAG_CAPA_ROLE), "values": ["private"]},
        ]},
        "nonRootVolumes": [
            {"deviceName": "/dev/xvdc", "size": 100, "type": "gp3", "encrypted": true},
        ],
        "instanceMetadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 3},
        "cloudInit": {},
        "ignition": {"version": "3.4"},
    });
    if let Some(owner) = plan.partition.flatcar_owner() {
        machine["imageLookupOrg"] = json!(owner);
    }
    let spec = json!({"template": {"spec": machine}});
    let name = format!("{}-control-plane-{}", plan.id, &digest(&spec)[..8]);
    json!({
        "apiVersion": api::INFRASTRUCTURE,
        "kind": "AWSMachineTemplate",
        "metadata": metadata(plan, &name),
        "spec": spec,
    })
}
