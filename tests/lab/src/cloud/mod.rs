//! The lab's AWS: moto, and what makes it behave like AWS where a migration looks.
//!
//! moto keeps the objects. [`front`] is the endpoint of every AWS client and adds AWS's refusals, and faults.
//! [`balancers`] carry traffic as the recorded load balancers would. [`genesis`] makes a vintage cluster's part of it.

mod balancers;
mod faults;
mod front;
mod genesis;
mod health;
mod query;
mod sdk;
mod seen;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    balancers::{Balancers, View},
    front::Front,
};
use crate::hosts::Hosts;

pub(crate) use self::{
    faults::{Fault, Faults},
    genesis::{Genesis, GenesisPlan},
    sdk::Clients,
    seen::Instance,
};

/// Seed of the faults' chance: two labs in which the same calls are made meet the same faults.
const SEED: u64 = 20;

/// Where the parts of a region's cloud are.
#[derive(Clone, Debug)]
pub(crate) struct CloudPlan {
    /// Where moto listens.
    pub(crate) moto: SocketAddr,
    /// Where the endpoint for AWS clients shall be.
    pub(crate) listen: SocketAddr,
    /// Addresses for load balancers; each of them can be bound.
    pub(crate) pool: Ipv4Net,
    /// The region.
    pub(crate) region: String,
    /// Folder for `aws-<region>.jsonl`, the log of requests.
    pub(crate) logs: PathBuf,
}

/// The cloud of one region, while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    endpoint: SocketAddr,
    region: String,
    /// Clients of moto itself: what the lab looks up is in no log, and no fault strikes it.
    clients: Clients,
    view: View,
    faults: Faults,
}

impl Cloud {
    /// Starts front and load balancers; they end with `stop`. An error when moto does not answer yet: then nothing runs,
    /// and it may be tried again.
    pub(crate) async fn start(
        plan: CloudPlan,
        hosts: Hosts,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let clients = Clients::new(&format!("http://{}", plan.moto), &plan.region);
        seen::load_balancers(&clients)
            .await
            .with_context(|| format!("moto at {}", plan.moto))?;
        let listener = TcpListener::bind(plan.listen)
            .await
            .with_context(|| format!("cannot listen on {}", plan.listen))?;
        let cloud = Self {
            endpoint: listener.local_addr()?,
            region: plan.region.clone(),
            clients: clients.clone(),
            view: View::default(),
            faults: Faults::none(SEED),
        };
        let wake = Arc::new(Notify::new());
        let front = Front::new(
            plan.moto,
            &plan.region,
            clients.clone(),
            cloud.view.clone(),
            cloud.faults.clone(),
            Arc::clone(&wake),
            &plan.logs.join(format!("aws-{}.jsonl", plan.region)),
        )?;
        tracker.spawn(front.serve(listener, tracker.clone(), stop.clone()));
        let balancers = Balancers {
            clients,
            region: plan.region,
            hosts,
            pool: plan.pool,
            view: cloud.view.clone(),
            tracker: tracker.clone(),
            stop,
        };
        tracker.spawn(balancers.run(wake));
        Ok(cloud)
    }

    /// What `AWS_ENDPOINT_URL` has to be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// The faults, to be set while it runs.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Running instances that have all these tags (key and value), ordered by id.
    pub(crate) async fn running_instances(
        &self,
        tags: &[(&str, &str)],
    ) -> anyhow::Result<Vec<Instance>> {
        let state = ("instance-state-name".to_owned(), vec!["running".to_owned()]);
        let filters: Vec<_> = tags
            .iter()
            .map(|(key, value)| (format!("tag:{key}"), vec![(*value).to_owned()]))
            .chain([state])
            .collect();
        let mut instances = seen::instances(&self.clients, &self.region, &filters).await?;
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(instances)
    }

    /// Makes a vintage cluster's part of AWS, by calls to the endpoint.
    pub(crate) async fn genesis(&self, plan: &GenesisPlan) -> anyhow::Result<Genesis> {
        genesis::make(&self.endpoint(), plan).await
    }
}
