//! The rules of reality: what happens by itself. One file a subsystem.
//!
//! Every rule is a function of a cluster and the time that does what is due and says whether it did anything. They run
//! in a fixed order, again and again, until none has anything left to do; then probes look. A rule never schedules
//! anything: it states a condition to [`Timers::hold`](crate::timers::Timers::hold) and acts when that has held long
//! enough. So adding a rule is adding a function here.

mod adoption;
pub(crate) mod api;
pub(crate) mod apps;
pub(crate) mod asg;
pub(crate) mod autoscaler;
mod boot;
pub(crate) mod budgets;
mod cabpk;
mod capa;
pub(crate) mod capi;
pub(crate) mod charts;
mod cidr;
pub(crate) mod cni;
mod deletion;
mod deployments;
pub(crate) mod dns;
pub(crate) mod ec2;
mod elb;
mod encryption;
mod endpoints;
pub(crate) mod etcd;
pub(crate) mod gitops;
mod healthcheck;
mod hosts;
mod jobs;
pub(crate) mod kcp;
mod kubeadm;
mod leases;
mod machine_pools;
pub(crate) mod migrator;
mod mortality;
pub(crate) mod nodes;
mod operators;
mod probes;
mod rollout;
pub(crate) mod stacks;
pub(crate) mod static_pods;
mod upkeep;

use drover_step_api::Timestamp;

pub(crate) use cabpk::LOOK as LOOK_AT_BOOTSTRAP;
pub(crate) use migrator::wake as wake_migrator;

use crate::state::Cluster;

/// One rule of reality: does what is due, and says whether it did anything.
type Rule = fn(&mut Cluster, Timestamp) -> bool;

const RULES: [Rule; 30] = [
    ec2::run,
    dns::run,
    stacks::run,
    asg::run,
    healthcheck::run,
    mortality::run,
    hosts::run,
    jobs::run,
    boot::run,
    etcd::run,
    migrator::run,
    endpoints::run,
    leases::run,
    elb::run,
    nodes::run,
    budgets::run,
    apps::run,
    static_pods::run,
    encryption::run,
    capa::run,
    cabpk::run,
    kcp::run,
    capi::run,
    machine_pools::run,
    operators::run,
    upkeep::run,
    adoption::run,
    cni::run,
    deletion::run,
    deletion::run_capi,
];

/// Rules that act on each other forever are a bug in the rules.
const ROUNDS_LIMIT: usize = 200;

/// Lets everything happen that is due at `now`.
pub(crate) fn settle(cluster: &mut Cluster, now: Timestamp) {
    for _ in 0..ROUNDS_LIMIT {
        let mut acted = false;
        for rule in RULES {
            acted |= rule(cluster, now);
        }
        acted |= cluster.timers.take_fired();
        if !acted {
            probes::look(cluster, now);
            cluster.timers.prune(now);
            return;
        }
    }
    let id = &cluster.facts.id;
    unreachable!("the rules of cluster {id} do not come to rest at {now}");
}
