//! A whole migration, played by hand against the world, with each of its precautions left out on demand.

use drover_model::{
    ClusterPlan, ControlPlanePlan, Endpoints, LoadBalancers, Master, NetworkPlan, PLAN_VERSION,
    ServiceAccountPlan, SubnetPlan, VintageCluster,
    cr::keys,
    names,
    node_job::{NodeCommand, NodeJob},
    target,
};
use drover_ports::{
    CaCall, CaReply, Call, CloudCall, CloudReply, Cluster as At, Gvk, KubeCall,
    LoadBalancerAttributes, ObjectRef, Reply, SecretBytes, Via,
};
use drover_sim::ClusterState;
use serde_json::{Value, json};

use crate::stage::{Stage, minutes, seconds};

pub(crate) const KCP: (&str, &str, &str) = (
    "controlplane.cluster.x-k8s.io",
    "v1beta1",
    "KubeadmControlPlane",
);

/// What is left out, or done wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Omit {
    pub(crate) pause: bool,
    pub(crate) disarm: bool,
    pub(crate) ca: bool,
    pub(crate) service_account: bool,
    pub(crate) encryption: bool,
    pub(crate) hold: bool,
    pub(crate) traffic: bool,
    pub(crate) stop: bool,
}

pub(crate) fn gvk((group, version, kind): (&str, &str, &str)) -> Gvk {
    Gvk::new(group, version, kind)
}

impl Stage {
    pub(crate) fn namespace(&self) -> String {
        let text = self.world.normalized();
        text["clusters"][&self.id]["vintage_mc"]
            .as_object()
            .unwrap()
            .keys()
            .find_map(|key| {
                key.strip_prefix("Cluster.cluster.x-k8s.io ")?
                    .split_once('/')
                    .map(|(ns, _)| ns.to_owned())
            })
            .unwrap()
    }

    pub(crate) fn object(&self, kind: (&str, &str, &str), name: &str) -> ObjectRef {
        ObjectRef::new(&gvk(kind), &self.namespace(), name)
    }

    pub(crate) fn kcp(&self) -> ObjectRef {
        self.object(KCP, &self.id)
    }

    /// The plan of the cluster, read off the world.
    pub(crate) fn plan(&mut self, text: &str) -> ClusterPlan {
        let vintage = VintageCluster::read(&[("test", text)]).unwrap().remove(0);
        let partition = vintage.partition();
        let vpc = vintage.aws_cluster.status.provider.network.vpc_id.clone();
        let CloudReply::Subnets(subnets) = self
            .cloud(CloudCall::DescribeSubnets { vpc: vpc.clone() })
            .unwrap()
        else {
            panic!("subnets")
        };
        let CloudReply::SecurityGroups(groups) = self
            .cloud(CloudCall::DescribeSecurityGroups { vpc: vpc.clone() })
            .unwrap()
        else {
            panic!("groups")
        };
        let account = self.account();
        let installation = self
            .world
            .config()
            .installations
            .iter()
            .find(|i| i.name == self.installation)
            .unwrap()
            .clone();
        let base = vintage.base_domain().to_owned();
        let masters = self
            .masters()
            .into_iter()
            .zip(names::etcd_members(vintage.replicas()))
            .map(|(instance, member)| Master {
                instance: instance.id,
                node: instance.private_dns,
                member,
                zone: instance.zone,
                auto_scaling_group: instance.tags["aws:autoscaling:groupName"].clone(),
            })
            .collect();
        ClusterPlan {
            version: PLAN_VERSION,
            id: self.id.clone(),
            organization: vintage.organization().into(),
            namespace: vintage.namespace.clone(),
            installation: self.installation.clone(),
            region: vintage.region.clone(),
            partition,
            account: account.clone(),
            description: String::new(),
            service_priority: String::new(),
            release: vintage.release(),
            kubernetes: "1.25.16".parse().unwrap(),
            condition: "Created".into(),
            update_schedule: None,
            endpoints: Endpoints::new(&self.id, &base, &installation.capi_domain),
            network: NetworkPlan {
                vpc,
                vpc_cidr: String::new(),
                internet_gateway: String::new(),
                subnets: subnets
                    .into_iter()
                    .map(|subnet| SubnetPlan {
                        public: false,
                        stack: String::new(),
                        pool: String::new(),
                        route_table: String::new(),
                        nat_gateway: String::new(),
                        id: subnet.id,
                        zone: subnet.zone,
                        cidr: subnet.cidr,
                    })
                    .collect(),
                master_security_group: groups
                    .iter()
                    .find(|group| group.name == format!("{}-master", self.id))
                    .unwrap()
                    .id
                    .clone(),
                pod_cidr: vintage.pod_cidr().into(),
                service_cidr: "172.31.0.0/16".into(),
                node_cidr_mask: 25,
            },
            load_balancers: LoadBalancers::of(&self.id),
            control_plane: ControlPlanePlan {
                id: String::new(),
                instance_type: vintage.master_instance_type().into(),
                zones: vintage.master_zones(),
            },
            masters,
            node_pools: Vec::new(),
            service_accounts: ServiceAccountPlan {
                issuers: self.issuers(),
                capi_issuer: partition.capi_issuer(
                    &vintage.region,
                    &account,
                    &self.id,
                    &installation.capi_domain,
                ),
                audiences: vec![partition.sts_audience()],
            },
            oidc: None,
            tags: [].into(),
            etcd_quota_bytes: 8 << 30,
            pod_gc_threshold: None,
            capa_role_arn: partition.role_arn(&account, &names::capa_role(&self.installation)),
            other_settings: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn account(&mut self) -> String {
        let call = KubeCall::List {
            gvk: Gvk::new("", "v1", "Secret"),
            namespace: "giantswarm".into(),
            labels: [].into(),
        };
        let drover_ports::KubeReply::Objects { objects } = self.kube(At::VintageMc, call).unwrap()
        else {
            panic!("secrets")
        };
        let name = objects[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let secret = self.secret(At::VintageMc, "giantswarm", &name).unwrap();
        let arn = String::from_utf8(secret.data["aws.admin.arn"].expose().to_vec()).unwrap();
        arn.split(':').nth(4).unwrap().to_owned()
    }

    fn issuers(&mut self) -> Vec<String> {
        let at = self.workload(Via::OldName);
        let pods = self.list(at, &Gvk::new("", "v1", "Pod"));
        let server = pods
            .iter()
            .find(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == "api-server")
            .unwrap();
        server["spec"]["containers"][0]["command"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|flag| flag.as_str()?.strip_prefix("--service-account-issuer="))
            .map(str::to_owned)
            .collect()
    }

    /// Pauses every vintage object.
    pub(crate) fn pause_vintage(&mut self) {
        for (group, version, kind) in [
            ("cluster.x-k8s.io", "v1beta1", "Cluster"),
            ("infrastructure.giantswarm.io", "v1alpha3", "AWSCluster"),
            (
                "infrastructure.giantswarm.io",
                "v1alpha3",
                "G8sControlPlane",
            ),
            (
                "infrastructure.giantswarm.io",
                "v1alpha3",
                "AWSControlPlane",
            ),
            ("cluster.x-k8s.io", "v1beta1", "MachineDeployment"),
            (
                "infrastructure.giantswarm.io",
                "v1alpha3",
                "AWSMachineDeployment",
            ),
            ("core.giantswarm.io", "v1alpha1", "CertConfig"),
        ] {
            let gvk = Gvk::new(group, version, kind);
            for object in self.list(At::VintageMc, &gvk) {
                let name = object["metadata"]["name"].as_str().unwrap();
                let namespace = object["metadata"]["namespace"].as_str().unwrap();
                let object = ObjectRef::new(&gvk, namespace, name);
                self.annotate(At::VintageMc, &object, keys::PAUSED, json!("true"));
            }
        }
    }

    pub(crate) fn disarm(&mut self) {
        let tags = [(names::TAG_CLUSTER.to_owned(), self.id.clone())].into();
        let CloudReply::Groups(groups) = self
            .cloud(CloudCall::DescribeAutoScalingGroups { tags })
            .unwrap()
        else {
            panic!("groups")
        };
        for group in groups {
            let processes = ["Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy"];
            self.cloud(CloudCall::SuspendProcesses {
                group: group.name,
                processes: processes.map(str::to_owned).to_vec(),
            })
            .unwrap();
        }
    }

    pub(crate) fn copy_secrets(&mut self, omit: Omit) {
        let (namespace, id) = (self.namespace(), self.id.clone());
        let Reply::Ca(CaReply::Bundle(ca)) = self
            .call(Call::Ca {
                cluster: id.clone(),
                call: CaCall::Fetch,
            })
            .unwrap()
        else {
            panic!("ca")
        };
        if !omit.ca {
            for name in names::ca_secrets(&id) {
                let certificate = SecretBytes::new(ca.certificate_pem.clone().into_bytes());
                self.write_secret(
                    &namespace,
                    &name,
                    &[
                        ("tls.crt", certificate),
                        ("tls.key", ca.private_key_pem.clone()),
                    ],
                );
            }
        }
        let sa = self
            .secret(
                At::VintageMc,
                &namespace,
                &names::service_account_v2_secret(&id),
            )
            .unwrap();
        if !omit.service_account {
            self.write_secret(
                &namespace,
                &names::sa_secret(&id),
                &[
                    ("tls.crt", sa.data["pub"].clone()),
                    ("tls.key", sa.data["key"].clone()),
                ],
            );
        }
        let old = self
            .secret(
                At::VintageMc,
                &namespace,
                &names::service_account_secret(&id),
            )
            .unwrap();
        self.write_secret(
            &namespace,
            &names::sa_old_secret(&id),
            &[("tls.key", old.data["key"].clone())],
        );
        let encryption = self
            .secret(At::VintageMc, &namespace, &names::encryption_secret(&id))
            .unwrap();
        if !omit.encryption {
            self.write_secret(
                &namespace,
                &names::encryption_secret(&id),
                &[("encryption", encryption.data["encryption"].clone())],
            );
        }
    }

    pub(crate) fn write_files(&mut self, plan: &ClusterPlan) {
        let (namespace, name) = (self.namespace(), names::migration_files_secret(&self.id));
        let files = target::migration_files(&plan.endpoints.etcd, plan.partition);
        let data: Vec<(&str, SecretBytes)> = files
            .iter()
            .map(|(key, text)| (key.as_str(), SecretBytes::new(text.clone().into_bytes())))
            .collect();
        self.write_secret(&namespace, &name, &data);
    }

    pub(crate) fn touch_bootstrap(&mut self) {
        let gvk = gvk(("bootstrap.cluster.x-k8s.io", "v1beta1", "KubeadmConfig"));
        for config in self.list(At::CapiMc, &gvk) {
            let name = config["metadata"]["name"].as_str().unwrap();
            let object = ObjectRef::new(&gvk, &self.namespace(), name);
            self.annotate(
                At::CapiMc,
                &object,
                "drover.giantswarm.io/touched",
                json!("1"),
            );
        }
    }

    pub(crate) fn machine_objects(&mut self) -> Vec<Value> {
        self.list(
            At::CapiMc,
            &Gvk::new("cluster.x-k8s.io", "v1beta1", "Machine"),
        )
    }

    /// Applies everything and waits until one Machine exists; paused then, unless left out.
    pub(crate) fn apply_target(&mut self, objects: &[Value], omit: Omit) {
        for object in objects {
            self.apply(At::CapiMc, object.clone());
        }
        self.wait_for("the first Machine", minutes(5), |stage| {
            !stage.machine_objects().is_empty()
        });
        if !omit.hold {
            let kcp = self.kcp();
            self.annotate(At::CapiMc, &kcp, keys::PAUSED, json!("true"));
        }
    }

    pub(crate) fn wait_for_node(&mut self) {
        self.wait_for("the first NodeRef", minutes(10), |stage| {
            stage
                .machine_objects()
                .iter()
                .any(|machine| machine["status"]["nodeRef"].is_object())
        });
    }

    pub(crate) fn start_job(&mut self, name: &str, node: &str, commands: Vec<NodeCommand>) {
        let job = NodeJob {
            name: name.into(),
            node: node.into(),
            image: "registry.example/tools".into(),
            commands,
        };
        let at = self.workload(Via::OldName);
        self.apply(at, job.render());
    }

    pub(crate) fn node_job(&mut self, name: &str, node: &str, commands: Vec<NodeCommand>) {
        self.start_job(name, node, commands);
        let reference = ObjectRef::new(&Gvk::new("batch", "v1", "Job"), "kube-system", name);
        self.wait_for(&format!("job {name}"), minutes(5), |stage| {
            let at = stage.workload(Via::OldName);
            let get = KubeCall::Get {
                object: reference.clone(),
            };
            match stage.kube(at, get) {
                Ok(drover_ports::KubeReply::Object { object }) => NodeJob::has_succeeded(&object),
                _ => false,
            }
        });
    }

    pub(crate) fn park(&mut self, plan: &ClusterPlan, what: &str, manifests: &[&str]) {
        for (n, master) in plan.masters.iter().enumerate() {
            let commands = manifests
                .iter()
                .map(|manifest| NodeCommand::Park {
                    manifest: (*manifest).to_owned(),
                })
                .collect();
            self.node_job(&format!("{what}-{n}"), &master.node, commands);
        }
    }

    pub(crate) fn register(&mut self, elb: &str, instances: &[String]) {
        self.cloud(CloudCall::RegisterInstancesWithLoadBalancer {
            load_balancer: elb.into(),
            instances: instances.to_vec(),
        })
        .unwrap();
    }

    pub(crate) fn deregister(&mut self, elb: &str, instances: &[String]) {
        self.cloud(CloudCall::DeregisterInstancesFromLoadBalancer {
            load_balancer: elb.into(),
            instances: instances.to_vec(),
        })
        .unwrap();
    }

    pub(crate) fn move_traffic(&mut self, plan: &ClusterPlan) {
        let node = vec![self.machines()[0].id.clone()];
        let elbs = [
            plan.load_balancers.api.clone(),
            plan.load_balancers.api_internal.clone(),
        ];
        for elb in &elbs {
            self.cloud(CloudCall::ModifyLoadBalancerAttributes {
                load_balancer: elb.clone(),
                attributes: LoadBalancerAttributes {
                    connection_draining: Some(300),
                },
            })
            .unwrap();
            self.register(elb, &node);
            self.wait_for("node 1 in service", minutes(1), |stage| {
                stage.is_in_service(elb, &node[0])
            });
            self.deregister(elb, &plan.master_instances());
        }
    }

    pub(crate) fn unpause_kcp(&mut self) {
        let kcp = self.kcp();
        self.annotate(At::CapiMc, &kcp, keys::PAUSED, Value::Null);
    }

    /// Up to and including node 1's join; gives the plan.
    pub(crate) fn up_to_join(&mut self, text: &str, omit: Omit) -> ClusterPlan {
        self.up_to_join_with(text, omit, |_| {})
    }

    /// The same, with changed objects.
    pub(crate) fn up_to_join_with(
        &mut self,
        text: &str,
        omit: Omit,
        change: impl FnOnce(&mut Vec<Value>),
    ) -> ClusterPlan {
        let plan = self.plan(text);
        if !omit.pause {
            self.pause_vintage();
        }
        if !omit.disarm {
            self.disarm();
        }
        self.copy_secrets(omit);
        let mut objects = target::render(&plan).objects;
        change(&mut objects);
        self.apply_target(&objects, omit);
        self.write_files(&plan);
        self.touch_bootstrap();
        plan
    }

    pub(crate) fn migrate(&mut self, text: &str, omit: Omit) -> ClusterPlan {
        let plan = self.up_to_join(text, omit);
        self.wait_for_node();
        if !omit.traffic {
            self.move_traffic(&plan);
        }
        if !omit.stop {
            self.park(
                &plan,
                "stop-controllers",
                &["k8s-controller-manager.yaml", "k8s-scheduler.yaml"],
            );
            self.wait(seconds(40));
            self.park(
                &plan,
                "stop-api",
                &["k8s-api-healthz.yaml", "k8s-api-server.yaml"],
            );
            self.wait(seconds(30));
        }
        self.unpause_kcp();
        plan
    }
}

#[test]
fn with_all_precautions_nobody_notices_a_thing() {
    for (text, mut stage) in [
        (drover_sim::sample_crs().to_owned(), Stage::sample()),
        (crate::stage::generated(1, "eu-"), Stage::single_master()),
        (
            crate::stage::generated(3, "cn-"),
            Stage::of(
                &crate::stage::generated(3, "cn-"),
                drover_sim::WorldConfig::default(),
            ),
        ),
    ] {
        let before = stage.token(Via::OldName);
        stage.migrate(&text, Omit::default());
        stage.wait_for("three nodes", minutes(30), |stage| {
            stage.report().state == ClusterState::Migrated
        });
        stage.wait(minutes(10));
        let report = stage.report();
        assert_eq!(report.gaps, [], "{report:#?}");
        assert_eq!(report.accidents, Vec::<String>::new());
        assert_eq!(report.shared_pod_cidrs, Vec::<String>::new());
        assert!(stage.accepts(Via::OldName, &before));
        let at = stage.workload(Via::NewName);
        assert!(stage.secret(at, "default", "customer-database").is_ok());
    }
}
