//! Clusters to try things on: one written by hand, and as many generated ones as wanted.

use std::collections::BTreeSet;

use drover_model::cr::keys;

use crate::{InstallationConfig, chance::Chance};

/// Custom resources of the sample cluster: three masters in eu-central-1, three node pools, release 20.1.2.
pub fn sample_crs() -> &'static str {
    include_str!("../samples/three-masters.yaml")
}

/// Custom resources of `count` clusters `c0001`, `c0002`, … of varied shapes, for the first two installations. One YAML
/// text each.
pub fn generate(count: usize, seed: u64) -> Vec<String> {
    generate_for(count, seed, &InstallationConfig::several(2))
}

/// As [`generate`], spread over these installations.
pub fn generate_for(count: usize, seed: u64, installations: &[InstallationConfig]) -> Vec<String> {
    let mut pools = BTreeSet::new();
    (0..count)
        .map(|n| Shape::nth(n, seed, installations, &mut pools).render())
        .collect()
}

/// Organizations are words, so that lists can be read.
const ORGANIZATIONS: [&str; 12] = [
    "amberly",
    "borealis",
    "cobalt",
    "driftwood",
    "emberline",
    "fernhill",
    "granite",
    "halcyon",
    "ironbark",
    "juniper",
    "kestrel",
    "lodestar",
];

const PURPOSES: [&str; 6] = [
    "payments",
    "checkout",
    "search",
    "reporting",
    "identity",
    "logistics",
];

const CAPI: &str = "cluster.x-k8s.io/v1beta1";
const VINTAGE: &str = "infrastructure.giantswarm.io/v1alpha3";
const BY_CLUSTER_OPERATOR: (&str, &str) = (keys::CLUSTER_OPERATOR, "5.11.0");
const BY_AWS_OPERATOR: (&str, &str) = (keys::AWS_OPERATOR, "16.1.1");

/// Everything that differs between generated clusters.
struct Shape {
    id: String,
    organization: &'static str,
    description: String,
    priority: &'static str,
    release: String,
    region: String,
    base_domain: String,
    zones: Vec<String>,
    masters: usize,
    network: u64,
    pools: Vec<Pool>,
}

struct Pool {
    id: String,
    description: &'static str,
    zones: Vec<String>,
    instance_type: &'static str,
    min: u64,
    max: u64,
    running: u64,
    on_demand_percent: u64,
    subnet: String,
}

impl Shape {
    /// `taken` are the ids of pools that others have.
    fn nth(
        n: usize,
        seed: u64,
        installations: &[InstallationConfig],
        taken: &mut BTreeSet<String>,
    ) -> Self {
        let id = format!("c{:04}", n + 1);
        let chance = Chance::new(seed, &format!("generated {id}"));
        let pick = |limit: usize, what: &str| {
            usize::try_from(chance.below(limit as u64, what, "")).unwrap_or(0)
        };
        let installation = installations
            .get(n % installations.len().max(1))
            .cloned()
            .unwrap_or_else(|| InstallationConfig::nth(0));
        // Customers do not share installations, so neither do the words.
        let organization = ORGANIZATIONS
            [(n / installations.len().max(1) + pick(3, "organization")) % ORGANIZATIONS.len()];
        let (environment, priority) = match pick(10, "environment") {
            0..=4 => ("production", "highest"),
            5..=6 => ("staging", "medium"),
            _ => ("development", "lowest"),
        };
        let zones: Vec<String> = ["a", "b", "c"]
            .iter()
            .map(|zone| format!("{}{zone}", installation.region))
            .collect();
        let masters = if pick(10, "masters") < 8 { 3 } else { 1 };
        let count = match pick(10, "pools") {
            0 => 0,
            1..=7 => 1 + pick(4, "few pools"),
            _ => 5 + pick(8, "many pools"),
        };
        Self {
            description: format!(
                "{} {environment}",
                PURPOSES[pick(PURPOSES.len(), "purpose")]
            ),
            organization,
            priority,
            release: format!("20.1.{}", pick(5, "release")),
            base_domain: installation.base_domain,
            region: installation.region,
            masters,
            network: chance.below(250, "network", ""),
            pools: (0..count)
                .map(|p| Pool::nth(p, &chance, &zones, taken))
                .collect(),
            zones,
            id,
        }
    }

    fn render(&self) -> String {
        let mut documents = vec![
            self.cluster(),
            self.aws_cluster(),
            self.control_plane(),
            self.aws_control_plane(),
        ];
        for pool in &self.pools {
            documents.push(self.machine_deployment(pool));
            documents.push(self.aws_machine_deployment(pool));
        }
        documents.join("---\n")
    }

    /// `apiVersion` to `metadata.labels`.
    fn head(&self, api_version: &str, kind: &str, name: &str, labels: &[(&str, &str)]) -> String {
        let Self {
            id,
            organization,
            release,
            ..
        } = self;
        let extra: String = labels
            .iter()
            .map(|(key, value)| format!("    {key}: {value}\n"))
            .collect();
        format!(
            "\
apiVersion: {api_version}
kind: {kind}
metadata:
  name: {name}
  namespace: org-{organization}
  labels:
    giantswarm.io/cluster: {id}
    cluster.x-k8s.io/cluster-name: {id}
    giantswarm.io/organization: {organization}
    release.giantswarm.io/version: {release}
{extra}"
        )
    }

    fn cluster(&self) -> String {
        let Self {
            id,
            organization,
            base_domain,
            ..
        } = self;
        let labels = [BY_CLUSTER_OPERATOR, (keys::SERVICE_PRIORITY, self.priority)];
        let head = self.head(CAPI, "Cluster", id, &labels);
        format!(
            "\
{head}  annotations: {{cilium.giantswarm.io/pod-cidr: 10.96.0.0/14}}
spec:
  controlPlaneEndpoint: {{host: api.{id}.k8s.{base_domain}, port: 443}}
  infrastructureRef: {{apiVersion: {VINTAGE}, kind: AWSCluster, name: {id}, namespace: org-{organization}}}
"
        )
    }

    fn aws_cluster(&self) -> String {
        let Self {
            id,
            organization,
            description,
            base_domain,
            region,
            network,
            ..
        } = self;
        let head = self.head(VINTAGE, "AWSCluster", id, &[BY_AWS_OPERATOR]);
        let vpc = Chance::new(0, id).hex(16, "vpc", region);
        format!(
            "\
{head}spec:
  cluster:
    description: {description}
    dns: {{domain: {base_domain}}}
  provider:
    region: {region}
    credentialSecret: {{name: credential-{organization}, namespace: giantswarm}}
    pods: {{cidrBlock: 10.96.0.0/14}}
status:
  cluster: {{conditions: [{{condition: Created}}]}}
  provider: {{network: {{cidr: 10.1.{network}.0/24, vpcID: vpc-0{vpc}}}}}
"
        )
    }

    fn control_plane(&self) -> String {
        let name = format!("{}cp", self.id);
        let labels = [BY_CLUSTER_OPERATOR, (keys::CONTROL_PLANE, name.as_str())];
        let head = self.head(VINTAGE, "G8sControlPlane", &name, &labels);
        format!("{head}spec: {{replicas: {}}}\n", self.masters)
    }

    fn aws_control_plane(&self) -> String {
        let name = format!("{}cp", self.id);
        let labels = [BY_AWS_OPERATOR, (keys::CONTROL_PLANE, name.as_str())];
        let head = self.head(VINTAGE, "AWSControlPlane", &name, &labels);
        let zones = self.zones[..self.masters].join(", ");
        format!("{head}spec: {{availabilityZones: [{zones}], instanceType: m5.xlarge}}\n")
    }

    fn machine_deployment(&self, pool: &Pool) -> String {
        let labels = [
            BY_CLUSTER_OPERATOR,
            (keys::MACHINE_DEPLOYMENT, pool.id.as_str()),
        ];
        let head = self.head(CAPI, "MachineDeployment", &pool.id, &labels);
        let (id, running) = (&self.id, pool.running);
        format!("{head}spec: {{clusterName: {id}}}\nstatus: {{replicas: {running}}}\n")
    }

    fn aws_machine_deployment(&self, pool: &Pool) -> String {
        let Pool {
            id,
            description,
            instance_type,
            min,
            max,
            on_demand_percent,
            subnet,
            ..
        } = pool;
        let labels = [BY_AWS_OPERATOR, (keys::MACHINE_DEPLOYMENT, id.as_str())];
        let head = self.head(VINTAGE, "AWSMachineDeployment", id, &labels);
        let zones = pool.zones.join(", ");
        format!(
            "\
{head}  annotations: {{machine-deployment.giantswarm.io/subnet: {subnet}}}
spec:
  nodePool:
    description: {description}
    machine: {{dockerVolumeSizeGB: 100, kubeletVolumeSizeGB: 100}}
    scaling: {{min: {min}, max: {max}}}
  provider:
    availabilityZones: [{zones}]
    instanceDistribution: {{onDemandBaseCapacity: 0, onDemandPercentageAboveBaseCapacity: {on_demand_percent}}}
    worker: {{instanceType: {instance_type}, useAlikeInstanceTypes: false}}
"
        )
    }
}

impl Pool {
    fn nth(n: usize, chance: &Chance, zones: &[String], taken: &mut BTreeSet<String>) -> Self {
        let of = n.to_string();
        let below = |limit: u64, what: &str| chance.below(limit, what, &of);
        let min = [0, 1, 3, 3, 3][below(5, "min") as usize];
        let kinds = [
            ("general purpose", "m5.2xlarge"),
            ("memory", "r5.2xlarge"),
            ("batch", "c5.4xlarge"),
            ("gpu", "g4dn.2xlarge"),
        ];
        let (description, instance_type) = kinds[below(4, "kind") as usize];
        let mut id = format!("n{}", chance.suffix(4, "pool", &of));
        while !taken.insert(id.clone()) {
            id = format!("n{}", chance.suffix(4, "pool again", &id));
        }
        Self {
            id,
            description,
            zones: zones[..1 + below(3, "zones") as usize].to_vec(),
            instance_type,
            min,
            max: min + 3 + below(10, "max"),
            running: min + below(2, "running"),
            on_demand_percent: [100, 100, 100, 25][below(4, "spot") as usize],
            subnet: format!("10.{}.{}.0/25", 64 + n % 32, below(250, "subnet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_model::{Partition, VintageCluster};

    use super::*;

    fn read(text: &str) -> VintageCluster {
        VintageCluster::read(&[("generated", text)])
            .unwrap()
            .remove(0)
    }

    #[test]
    fn the_sample_reads_without_a_finding() {
        let sample = read(sample_crs());
        assert_eq!((sample.replicas(), sample.pools.len()), (3, 3));
        assert_eq!(sample.findings, [], "{:?}", sample.findings);
    }

    #[test]
    fn generated_clusters_are_of_every_shape_and_repeat() {
        let texts = generate(300, 7);
        assert_eq!(texts, generate(300, 7));
        assert_ne!(texts, generate(300, 8));
        let clusters: Vec<VintageCluster> = texts.iter().map(|text| read(text)).collect();
        assert_eq!(clusters[0].id, "c0001");
        let masters: BTreeSet<u32> = clusters.iter().map(VintageCluster::replicas).collect();
        assert_eq!(masters, BTreeSet::from([1, 3]));
        let partitions: BTreeSet<Partition> =
            clusters.iter().map(VintageCluster::partition).collect();
        assert_eq!(partitions.len(), 2);
        let pools: BTreeSet<usize> = clusters.iter().map(|cluster| cluster.pools.len()).collect();
        assert!(
            pools.contains(&0) && pools.iter().any(|n| *n >= 10),
            "{pools:?}"
        );
        assert!(clusters.iter().all(|cluster| cluster.findings.is_empty()));
        let organizations: BTreeSet<&str> =
            clusters.iter().map(VintageCluster::organization).collect();
        assert!(organizations.len() > 5);
    }

    #[test]
    fn no_two_pools_of_a_fleet_have_one_id() {
        let texts = generate(1000, 1);
        let texts: Vec<(&str, &str)> = texts.iter().map(|text| ("generated", &**text)).collect();
        let clusters = VintageCluster::read(&texts).unwrap();
        let pools: Vec<&str> = clusters
            .iter()
            .flat_map(|cluster| &cluster.pools)
            .map(|pool| &*pool.id)
            .collect();
        let ids: BTreeSet<&str> = pools.iter().copied().collect();
        assert_eq!(ids.len(), pools.len());
    }

    #[test]
    fn each_generated_cluster_lands_in_its_installation() {
        let installations = InstallationConfig::several(12);
        for (n, text) in generate_for(48, 3, &installations).iter().enumerate() {
            let cluster = read(text);
            let found = crate::installation_of(&cluster, &installations).unwrap();
            assert_eq!(found.region, installations[n % 12].region);
        }
    }
}
