//! The masters: one Auto Scaling group of size one each.

use anyhow::Context as _;
use aws_sdk_autoscaling::types::{LaunchTemplateSpecification, Tag};
use aws_sdk_ec2::types::{ArchitectureValues, Filter, InstanceType, RequestLaunchTemplateData};
use drover_model::{NetworkPlan, SubnetPlan, names};

use super::{GenesisMaster, GenesisPlan, SecurityGroups, stack_tags};
use crate::cloud::{sdk::Clients, seen};

/// An image that instances boot from: any of those that moto knows.
pub(super) async fn image(ec2: &aws_sdk_ec2::Client) -> anyhow::Result<String> {
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let seen = ec2
        .describe_images()
        .filters(filter("architecture", ArchitectureValues::X8664.as_str()))
        .filters(filter("name", "flatcar-stable-*"))
        .send()
        .await?;
    let ids = seen.images().iter().filter_map(|image| image.image_id());
    Ok(ids.min().context("moto knows no image")?.to_owned())
}

/// Makes the groups, which start their instances.
pub(super) async fn make(
    clients: &Clients,
    plan: &GenesisPlan,
    network: &NetworkPlan,
    groups: &SecurityGroups,
    ami: &str,
) -> anyhow::Result<Vec<GenesisMaster>> {
    let template = format!("{}-master", plan.id);
    let data = RequestLaunchTemplateData::builder()
        .image_id(ami)
        .instance_type(InstanceType::M5Xlarge)
        .security_group_ids(&groups.master)
        .build();
    clients
        .ec2
        .create_launch_template()
        .launch_template_name(&template)
        .launch_template_data(data)
        .send()
        .await?;
    let mut private: Vec<&SubnetPlan> = network.subnets.iter().filter(|one| !one.public).collect();
    private.sort_by(|a, b| a.zone.cmp(&b.zone));
    let mut masters = Vec::new();
    for (n, subnet) in (1..=plan.masters).zip(private.iter().cycle()) {
        let group = format!(
            "cluster-{}-tccpn-ControlPlaneNodeAutoScalingGroup{n}",
            plan.id
        );
        create_group(clients, plan, &group, subnet, &template).await?;
        masters.push(master(clients, plan, group).await?);
    }
    Ok(masters)
}

async fn create_group(
    clients: &Clients,
    plan: &GenesisPlan,
    group: &str,
    subnet: &SubnetPlan,
    template: &str,
) -> anyhow::Result<()> {
    let tags = stack_tags(plan, names::STACK_MASTERS, &format!("{}-master", plan.id))
        .into_iter()
        .map(|(key, value)| {
            Tag::builder()
                .key(key)
                .value(value)
                .propagate_at_launch(true)
                .resource_id(group)
                .resource_type("auto-scaling-group")
                .build()
        });
    let template = LaunchTemplateSpecification::builder()
        .launch_template_name(template)
        .version("$Latest");
    clients
        .auto_scaling
        .create_auto_scaling_group()
        .auto_scaling_group_name(group)
        .launch_template(template.build())
        .min_size(1)
        .desired_capacity(1)
        .max_size(1)
        .vpc_zone_identifier(&subnet.id)
        .set_tags(Some(tags.collect()))
        .send()
        .await
        .with_context(|| group.to_owned())?;
    // As the step before the lab's stretch leaves it: no master is replaced behind the migration's back.
    clients
        .auto_scaling
        .suspend_processes()
        .auto_scaling_group_name(group)
        .set_scaling_processes(Some(SUSPENDED.map(str::to_owned).to_vec()))
        .send()
        .await
        .with_context(|| format!("suspend {group}"))?;
    Ok(())
}

/// Processes that `aws.disarm_node_killers` suspends.
const SUSPENDED: [&str; 9] = [
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// The instance that a group has started: moto does so before it answers.
async fn master(
    clients: &Clients,
    plan: &GenesisPlan,
    group: String,
) -> anyhow::Result<GenesisMaster> {
    let of_group = (
        "tag:aws:autoscaling:groupName".to_owned(),
        vec![group.clone()],
    );
    let instances = seen::instances(clients, &plan.region, &[of_group]).await?;
    let [instance] = &instances[..] else {
        anyhow::bail!("{group} has {} instances", instances.len());
    };
    Ok(GenesisMaster {
        instance: instance.id.clone(),
        private_ip: instance.private_ip.context("a master has no address")?,
        private_dns: instance.private_dns.clone(),
        zone: instance.zone.clone(),
        auto_scaling_group: group,
    })
}
