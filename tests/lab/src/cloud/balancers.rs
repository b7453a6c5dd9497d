//! Classic load balancers that carry traffic: what moto only records.
//!
//! Every two seconds, and whenever the front has passed on a change, this looks at moto's load balancers and instances,
//! and makes its own listeners, rosters and health checks like them. Each load balancer has an address of a pool, under
//! its DNS name. As at AWS:
//!
//! * an instance gets connections once its health check has passed often enough, and no new ones once it has failed often
//!   enough; those that it has stay;
//! * a deregistered instance loses its connections at once, or with connection draining when the time for it is over;
//! * a terminated instance is deregistered without anybody asking.
//!
//! Left out: the idle timeout, zones that a load balancer is not enabled for, TLS listeners.

mod forward;
mod members;
mod roster;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use roster::Roster;
pub(super) use roster::View;

use self::{forward::Listener, members::Followed};
use super::{
    health::HealthCheck,
    sdk::Clients,
    seen::{self, Instance, LoadBalancer},
};
use crate::hosts::Hosts;

/// How often moto is looked at when nothing is known to have changed.
const LOOK: Duration = Duration::from_secs(2);

/// Follows moto's load balancers.
pub(super) struct Balancers {
    /// Clients of moto itself: what AWS does by itself is no caller's request, and no fault strikes it.
    pub(super) clients: Clients,
    /// Region whose load balancers these are.
    pub(super) region: String,
    /// Where their DNS names go.
    pub(super) hosts: Hosts,
    /// Where their addresses come from. Every address of it can be bound.
    pub(super) pool: Ipv4Net,
    /// What others may see.
    pub(super) view: View,
    /// Runs their tasks.
    pub(super) tracker: TaskTracker,
    /// Ends everything.
    pub(super) stop: CancellationToken,
}

/// A load balancer as it runs here. Dropped, its listeners and checks end.
struct Balancer {
    address: Ipv4Addr,
    dns_name: String,
    listeners: BTreeMap<(u16, u16), Listener>,
    check: HealthCheck,
    roster: Arc<Roster>,
    backends: BTreeMap<String, Followed>,
    stop: CancellationToken,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Balancers {
    /// Follows until `stop`. `wake` asks for a look at once. A look that fails is told in the log, and the next one goes on
    /// from what is there.
    pub(super) async fn run(self, wake: Arc<Notify>) {
        let mut running = BTreeMap::new();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All three may be dropped while they wait: a tick that is not taken stays due, and so does a wake.
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = wake.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.look(&mut running).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot follow the load balancers"
                );
            }
        }
    }

    async fn look(&self, running: &mut BTreeMap<String, Balancer>) -> anyhow::Result<()> {
        let seen = seen::load_balancers(&self.clients).await?;
        let instances = self.instances_of(&seen).await?;
        let gone: Vec<String> = running
            .keys()
            .filter(|name| seen.iter().all(|balancer| balancer.name != **name))
            .cloned()
            .collect();
        for name in gone {
            self.close(running, &name)?;
        }
        for balancer in &seen {
            // One that cannot be followed must not stop the others.
            if let Err(error) = self.follow(running, balancer, &instances).await {
                tracing::warn!(
                    load_balancer = balancer.name,
                    error = format!("{error:#}"),
                    "cannot follow the load balancer"
                );
            }
        }
        Ok(())
    }

    async fn instances_of(
        &self,
        seen: &[LoadBalancer],
    ) -> anyhow::Result<BTreeMap<String, Instance>> {
        let ids: BTreeSet<&String> = seen.iter().flat_map(|one| &one.instances).collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let filter = ("instance-id".to_owned(), ids.into_iter().cloned().collect());
        let instances = seen::instances(&self.clients, &self.region, &[filter]).await?;
        Ok(instances
            .into_iter()
            .map(|instance| (instance.id.clone(), instance))
            .collect())
    }

    fn close(&self, running: &mut BTreeMap<String, Balancer>, name: &str) -> anyhow::Result<()> {
        if let Some(balancer) = running.remove(name) {
            tracing::info!(load_balancer = name, "load balancer is gone");
            self.view.remove(name);
            self.hosts.remove(&balancer.dns_name)?;
        }
        Ok(())
    }

    async fn follow(
        &self,
        running: &mut BTreeMap<String, Balancer>,
        seen: &LoadBalancer,
        instances: &BTreeMap<String, Instance>,
    ) -> anyhow::Result<()> {
        if !running.contains_key(&seen.name) {
            let balancer = self.open(running, seen)?;
            running.insert(seen.name.clone(), balancer);
        }
        let Some(balancer) = running.get_mut(&seen.name) else {
            return Ok(());
        };
        self.listen(balancer, seen).await?;
        let recheck = balancer.check != seen.check;
        balancer.check = seen.check.clone();
        self.leave(balancer, seen).await;
        let mut terminated = Vec::new();
        for id in &seen.instances {
            match instances.get(id) {
                Some(instance) if instance.state != "terminated" => {
                    self.join(balancer, &seen.name, instance, recheck);
                }
                Some(_) | None => terminated.push(id.clone()),
            }
        }
        self.drop_terminated(balancer, &seen.name, terminated).await
    }

    /// A new load balancer: an address nobody has, and its name.
    fn open(
        &self,
        running: &BTreeMap<String, Balancer>,
        seen: &LoadBalancer,
    ) -> anyhow::Result<Balancer> {
        let address = self
            .pool
            .hosts()
            .find(|address| running.values().all(|other| other.address != *address))
            .with_context(|| format!("no address of {} is free", self.pool))?;
        self.hosts.set(&seen.dns_name, address.into())?;
        let roster = Arc::new(Roster::default());
        self.view.add(&seen.name, Arc::clone(&roster));
        tracing::info!(load_balancer = seen.name, %address, "load balancer is there");
        Ok(Balancer {
            address,
            dns_name: seen.dns_name.clone(),
            listeners: BTreeMap::new(),
            check: seen.check.clone(),
            roster,
            backends: BTreeMap::new(),
            stop: self.stop.child_token(),
        })
    }

    async fn listen(&self, balancer: &mut Balancer, seen: &LoadBalancer) -> anyhow::Result<()> {
        balancer
            .listeners
            .retain(|ports, _| seen.listeners.contains(ports));
        for ports in &seen.listeners {
            if balancer.listeners.contains_key(ports) {
                continue;
            }
            let listener = Listener::open(
                balancer.address,
                *ports,
                Arc::clone(&balancer.roster),
                &self.tracker,
                balancer.stop.child_token(),
            )
            .await
            .with_context(|| format!("cannot listen on {}:{}", balancer.address, ports.0))?;
            balancer.listeners.insert(*ports, listener);
        }
        Ok(())
    }
}
