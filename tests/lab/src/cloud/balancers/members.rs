//! Who is behind a load balancer: instances come, are checked, and go.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Balancer, Balancers, roster::Backend};
use crate::cloud::{
    health::{HealthCheck, State},
    seen::{Instance, LoadBalancer},
};

/// A registered instance and the task that checks it.
pub(super) struct Followed {
    backend: Arc<Backend>,
    check: CancellationToken,
}

impl Balancers {
    /// Deregistered instances go.
    pub(super) async fn leave(&self, balancer: &mut Balancer, seen: &LoadBalancer) {
        let gone: Vec<String> = balancer
            .backends
            .keys()
            .filter(|id| !seen.instances.contains(*id))
            .cloned()
            .collect();
        if gone.is_empty() {
            return;
        }
        let draining = self.draining(&seen.name).await;
        for id in gone {
            tracing::info!(
                load_balancer = seen.name,
                instance = id,
                ?draining,
                "deregistered"
            );
            self.remove(balancer, &id, draining);
        }
    }

    fn remove(&self, balancer: &mut Balancer, id: &str, draining: Option<Duration>) {
        balancer.roster.remove(id);
        let Some(followed) = balancer.backends.remove(id) else {
            return;
        };
        followed.check.cancel();
        let closing = followed.backend.closing.clone();
        let Some(time) = draining else {
            closing.cancel();
            return;
        };
        self.tracker.spawn(async move {
            // Ends with the load balancer, whose token is this one's parent.
            closing.clone().run_until_cancelled(sleep(time)).await;
            closing.cancel();
        });
    }

    /// How long connections of deregistered instances live on; `None` when they do not, or when moto does not say.
    async fn draining(&self, load_balancer: &str) -> Option<Duration> {
        let described = self
            .clients
            .elb
            .describe_load_balancer_attributes()
            .load_balancer_name(load_balancer)
            .send()
            .await
            .ok()?;
        let draining = described
            .load_balancer_attributes()?
            .connection_draining()
            .filter(|draining| draining.enabled())?;
        let seconds = draining.timeout().and_then(|time| u64::try_from(time).ok());
        Some(Duration::from_secs(seconds.unwrap_or(300)))
    }

    /// A registered instance: it is new, or its state or its check changed, or nothing did.
    pub(super) fn join(
        &self,
        balancer: &mut Balancer,
        name: &str,
        instance: &Instance,
        recheck: bool,
    ) {
        let Some(address) = instance.private_ip else {
            return;
        };
        let known = balancer.backends.get(&instance.id);
        let backend = match known {
            Some(followed) if !recheck => Arc::clone(&followed.backend),
            Some(followed) => {
                followed.check.cancel();
                Arc::clone(&followed.backend)
            }
            None => {
                tracing::info!(load_balancer = name, instance = instance.id, %address, "registered");
                let closing = balancer.stop.child_token();
                let backend = Arc::new(Backend::new(&instance.id, address, closing));
                balancer.roster.add(Arc::clone(&backend));
                backend
            }
        };
        tell(
            name,
            &backend.instance,
            backend.instance_is(&instance.state),
        );
        if known.is_some() && !recheck {
            return;
        }
        let stop = balancer.stop.child_token();
        self.tracker.spawn(watch(
            name.to_owned(),
            Arc::clone(&backend),
            balancer.check.clone(),
            stop.clone(),
        ));
        let followed = Followed {
            backend,
            check: stop,
        };
        balancer.backends.insert(instance.id.clone(), followed);
    }

    /// Does what AWS does by itself: a terminated instance is no longer registered.
    pub(super) async fn drop_terminated(
        &self,
        balancer: &mut Balancer,
        name: &str,
        ids: Vec<String>,
    ) -> anyhow::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        for id in &ids {
            self.remove(balancer, id, None);
        }
        tracing::info!(load_balancer = name, instances = ?ids, "terminated, so deregistered");
        let instances = ids.into_iter().map(|id| {
            aws_sdk_elasticloadbalancing::types::Instance::builder()
                .instance_id(id)
                .build()
        });
        self.clients
            .elb
            .deregister_instances_from_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(instances.collect()))
            .send()
            .await
            .context("cannot deregister terminated instances")?;
        Ok(())
    }
}

/// Checks one instance until `stop`, first at once.
async fn watch(
    load_balancer: String,
    backend: Arc<Backend>,
    check: HealthCheck,
    stop: CancellationToken,
) {
    let mut ticks = interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(passed) = stop
        .run_until_cancelled(async {
            ticks.tick().await;
            check.probe(backend.address).await
        })
        .await
    {
        let changed = backend.record(passed, &check);
        tell(&load_balancer, &backend.instance, changed);
    }
}

fn tell(load_balancer: &str, instance: &str, changed: Option<State>) {
    if let Some(state) = changed {
        tracing::info!(load_balancer, instance, ?state, "health changed");
    }
}
