//! Node pools: MachinePool, AWSMachinePool and KubeadmConfig each.

use serde_json::{Value, json};

use super::{api, control_plane::kubeadm_environment, metadata};
use crate::{ClusterPlan, PoolPlan, digest, names};

pub(super) fn render(plan: &ClusterPlan) -> Vec<Value> {
    let pools = plan.node_pools.iter();
    pools.flat_map(|pool| objects(plan, pool)).collect()
}

fn objects(plan: &ClusterPlan, pool: &PoolPlan) -> [Value; 3] {
    let config = kubeadm_config(plan, pool);
    let config_name = config["metadata"]["name"].clone();
    [
        config,
        aws_machine_pool(plan, pool),
        machine_pool(plan, pool, &config_name),
    ]
}

/// As [`render`], of one pool and without nodes.
pub(super) fn empty(plan: &ClusterPlan, pool: &PoolPlan) -> [Value; 3] {
    let mut objects = objects(plan, pool);
    objects[1]["spec"]["minSize"] = json!(0);
    objects[2]["spec"]["replicas"] = json!(0);
    objects
}

fn name(plan: &ClusterPlan, pool: &PoolPlan) -> String {
    names::machine_pool(&plan.id, &pool.name)
}

fn machine_pool(plan: &ClusterPlan, pool: &PoolPlan, config: &Value) -> Value {
    let name = name(plan, pool);
    let mut object = json!({
        "apiVersion": api::CAPI,
        "kind": "MachinePool",
        "metadata": metadata(plan, &name),
        "spec": {
            "clusterName": plan.id,
            "replicas": pool.min,
            "template": {"spec": {
                "clusterName": plan.id,
                "version": format!("v{}", plan.kubernetes),
                "bootstrap": {"configRef": {
                    "apiVersion": api::BOOTSTRAP, "kind": "KubeadmConfig", "name": config,
                }},
                "infrastructureRef": {
                    "apiVersion": api::INFRASTRUCTURE, "kind": "AWSMachinePool", "name": name,
                },
            }},
        },
    });
    object["metadata"]["labels"]["giantswarm.io/machine-pool"] = json!(name);
    object["metadata"]["annotations"] = json!({
        "cluster.x-k8s.io/replicas-managed-by": "external-autoscaler",
        "machine-pool.giantswarm.io/name": pool.description,
    });
    object
}

fn aws_machine_pool(plan: &ClusterPlan, pool: &PoolPlan) -> Value {
    let subnets: Vec<Value> = pool.subnets.iter().map(|id| json!({"id": id})).collect();
    let mut object = json!({
        "apiVersion": api::INFRASTRUCTURE,
        "kind": "AWSMachinePool",
        "metadata": metadata(plan, &name(plan, pool)),
        "spec": {
            "minSize": pool.min,
            "maxSize": pool.max,
            "availabilityZones": pool.zones,
            "subnets": subnets,
            "awsLaunchTemplate": {
                "instanceType": pool.instance_type,
                "iamInstanceProfile": names::nodes_profile(&plan.id, &pool.name),
                "additionalSecurityGroups": [{"id": pool.security_group}],
                "rootVolume": {
                    "size": pool.container_volume_gb.saturating_add(pool.kubelet_volume_gb),
                    "type": "gp3",
                },
                "instanceMetadataOptions": {
                    "httpTokens": if pool.imds_v2 { "required" } else { "optional" },
                    "httpPutResponseHopLimit": 3,
                },
            },
            "refreshPreferences": {"minHealthyPercentage": 90},
        },
    });
    if let Some(spot) = pool.spot {
        let overrides: Vec<Value> = std::iter::once(&pool.instance_type)
            .chain(&pool.alike_instance_types)
            .map(|instance_type| json!({"instanceType": instance_type}))
            .collect();
        object["spec"]["mixedInstancesPolicy"] = json!({
            "instancesDistribution": {
                "onDemandBaseCapacity": spot.on_demand_base,
                "onDemandPercentageAboveBaseCapacity": spot.on_demand_percent,
            },
            "overrides": overrides,
        });
    }
    object
}

fn kubeadm_config(plan: &ClusterPlan, pool: &PoolPlan) -> Value {
    let machine_pool = name(plan, pool);
    let spec = json!({
        "format": "ignition",
        "ignition": kubeadm_environment(),
        "joinConfiguration": {"nodeRegistration": {
            "name": "${COREOS_EC2_HOSTNAME}",
            "kubeletExtraArgs": {
                "cloud-provider": "external",
                // Workloads select nodes by the vintage pool's label; it has to stay.
                "node-labels": format!(
                    "role=worker,giantswarm.io/machine-pool={machine_pool},giantswarm.io/machine-deployment={}",
                    pool.name
                ),
            },
        }},
        "preKubeadmCommands": [
            "envsubst '$COREOS_EC2_HOSTNAME' < /etc/kubeadm.yml > /etc/kubeadm.yml.tmp",
            "mv /etc/kubeadm.yml.tmp /etc/kubeadm.yml",
        ],
    });
    let name = format!("{machine_pool}-{}", &digest(&spec)[..8]);
    json!({
        "apiVersion": api::BOOTSTRAP,
        "kind": "KubeadmConfig",
        "metadata": metadata(plan, &name),
        "spec": spec,
    })
}
