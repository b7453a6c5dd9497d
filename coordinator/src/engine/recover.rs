//! From a store to an engine: one fold, and the new epoch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use drover_core::{
    audit::AuditEvent,
    catalog::{Catalog, CatalogEvent},
    ids::{Actor, Digest, Fence, WorkerId, WorkflowId},
    lease::{LeaseTable, LiveTime, Presence},
    pools::{Pools, PoolsEvent},
    stream::{Record, Recorded, StreamId},
    time::Timestamp,
    workflow::{
        Input, Offer, Phase, Workflow,
        event::{Body, Event},
    },
};
use tokio::time::Instant;

use super::{
    Engine, Settings, Slot, Streams,
    ended::{ByEnd, Ended},
    matching::Queues,
    objects::Readings,
    outbox::Outbox,
    sessions::Sessions,
    space::Space,
    timers::Timers,
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    store::{EventStore, Found, StoreError},
};

/// The epoch after a restore is at least so much higher than the backup's: nothing that was leased after the backup can
/// have a higher fence.
const RESTORE_STRIDE: u64 = 1_000_000;

/// Why no engine begins.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store cannot be read or written.
    #[error("the store cannot be used")]
    Store(#[source] StoreError),
    /// A stream that everything else needs is damaged.
    #[error(
        "the stream {stream} is damaged: {why}; restore the store from a backup into an empty folder"
    )]
    Damaged {
        /// Which stream.
        stream: StreamId,
        /// What is wrong.
        why: String,
    },
}

/// What the streams fold to.
#[derive(Default)]
struct Folded {
    catalog: Catalog,
    pools: Pools,
    streams: Streams,
    workflows: BTreeMap<WorkflowId, Slot>,
    restored_epoch: u64,
    /// Streams that have a tombstone and were there all the same: a backup may hold them.
    leftover: Vec<StreamId>,
    /// Objects that events name.
    objects: BTreeSet<Digest>,
    damage: Option<RecoverError>,
}

impl Engine {
    /// Folds what a store holds and begins a new epoch, durable before this returns.
    ///
    /// # Errors
    /// When the store cannot be used, or a stream that everything else needs is damaged. Damage of one workflow's stream
    /// only quarantines that workflow.
    pub fn recover(
        settings: Settings,
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, RecoverError> {
        let mut folded = Folded::default();
        store
            .scan(&mut |found| folded.take(found))
            .map_err(RecoverError::Store)?;
        if let Some(damage) = folded.damage {
            return Err(damage);
        }
        let is_quarantined = |slot: &Slot| matches!(slot, Slot::Quarantined(_));
        if folded.workflows.values().any(is_quarantined) {
            tracing::warn!("objects are not cleaned up: a quarantined workflow may name them");
        } else {
            settings.objects.sweep(&folded.objects);
        }
        let pending = store.restore_pending().map_err(RecoverError::Store)?;
        let mark = store.mark().map_err(RecoverError::Store)?;
        let now = clock.now().max(mark.unwrap_or_default());
        let floor = pending.map_or(0, |pending| restored_epoch(pending.backup_epoch, now));
        let epoch = (folded.pools.epoch + 1).max(floor);
        let profile = settings.profile;
        let mut engine = Self {
            settings,
            store,
            clock,
            metrics,
            origin: Instant::now(),
            started_at: now,
            now,
            live_now: LiveTime::default(),
            epoch,
            restored_epoch: if pending.is_some() {
                epoch
            } else {
                folded.restored_epoch
            },
            catalog: folded.catalog,
            pools: folded.pools,
            leases: LeaseTable::new(profile),
            live_deadline: None,
            workflows: folded.workflows,
            by_end: ByEnd::new(),
            reading: Arc::new(()),
            exclusive: HashMap::new(),
            prepared: HashMap::new(),
            sessions: Sessions::default(),
            queues: Queues::default(),
            readings: Readings::default(),
            timers: Timers::default(),
            progress: HashMap::new(),
            streams: folded.streams,
            outbox: Outbox::default(),
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            watchers: HashMap::new(),
            followers: HashMap::new(),
            space: Space::default(),
            deferred: VecDeque::new(),
            last_mark: now,
            leaving_may_have_ended: true,
        };
        let build = engine.settings.build.clone();
        engine.record_pools(
            None,
            PoolsEvent::EpochBegan {
                epoch,
                build,
                away_since: mark,
            },
        );
        if let Some(pending) = pending {
            engine.mark_restored(pending.backup_epoch, pending.audit_head);
        }
        engine.put_ended_away();
        for stream in folded.leftover {
            engine.streams.remove(stream);
        }
        engine.resume_leases();
        let mut batch = engine.streams.take(now);
        batch.clear_restore = pending.is_some();
        engine.store.append(&batch).map_err(RecoverError::Store)?;
        engine.streams.committed(&batch);
        if let Some(mirror) = &engine.settings.mirror {
            mirror.engine_begins();
        }
        engine.copy(&batch);
        tracing::info!(
            epoch,
            workflows = engine.workflows.len(),
            "the coordinator begins"
        );
        Ok(engine)
    }

    /// Ended workflows need no more than a summary of what they folded to.
    fn put_ended_away(&mut self) {
        let mut all = Vec::new();
        for (id, slot) in &self.workflows {
            if let Slot::Open(workflow) = slot
                && workflow.is_ended()
            {
                all.push((id.clone(), Ended::new(workflow, self.view(workflow))));
            }
        }
        for (id, ended) in all {
            self.keep_ended(&id, ended);
        }
    }

    fn mark_restored(&mut self, backup_epoch: u64, audit_head: drover_core::stream::Head) {
        let entry = AuditEvent::Restored {
            epoch: self.epoch,
            head: audit_head.hash,
            backup_epoch,
        };
        self.record_audit(&Actor(Arc::from("coordinator")), entry);
        let open: Vec<WorkflowId> = self
            .workflows
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Open(workflow) if !workflow.is_ended()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in open {
            let head = self.streams.head(&StreamId::Workflow(id.clone())).hash;
            self.react(&id, Input::Restored { head });
        }
    }

    /// Every lease in force gets the grace period; whoever holds it has that long to say so.
    fn resume_leases(&mut self) {
        for (record, standing) in self.pools.workers() {
            let presence = Presence {
                installation: record.installation.clone(),
                pool: record.pool.clone(),
                incarnation: Arc::clone(&record.incarnation),
                kinds: record.kinds.clone(),
                reach: record.reach.clone(),
                credits: BTreeMap::new(),
                draining: standing.is_draining(),
                // Its hello says more.
                protocol: 1,
            };
            let silent = self.pools.silent_since(&record.installation).is_some();
            self.leases.known(
                record.worker.clone(),
                presence,
                self.live_now,
                self.now,
                silent,
            );
        }
        let grace = self
            .settings
            .profile
            .restart_grace
            .max(self.settings.profile.lease_ttl);
        let mut held: Vec<(WorkflowId, usize, WorkerId, Fence, bool)> = Vec::new();
        for (id, slot) in &self.workflows {
            let Slot::Open(workflow) = slot else { continue };
            if let Some(key) = &workflow.created.exclusive {
                self.exclusive.insert(Arc::clone(key), id.clone());
            }
            self.touched.insert(id.clone());
            for (index, step) in workflow.steps.iter().enumerate() {
                if let Some(lease) = step.lease.as_ref().filter(|_| step.phase.is_leased()) {
                    let acked = step.phase == Phase::Running;
                    held.push((id.clone(), index, lease.worker.clone(), lease.fence, acked));
                }
            }
        }
        for (id, step, worker, fence, acked) in held {
            let Some(Slot::Open(workflow)) = self.workflows.get(&id) else {
                continue;
            };
            let offer = resumed_offer(workflow, step, fence);
            self.grant(&id, step, &worker, &offer, acked, Some(grace));
        }
    }
}

/// The epoch after a restore: higher than any that followed the backup, also when the same backup was restored before.
fn restored_epoch(backup_epoch: u64, now: Timestamp) -> u64 {
    let milliseconds = u64::try_from(now.0 / 1000).unwrap_or(0);
    (backup_epoch + RESTORE_STRIDE).max(milliseconds)
}

/// What the lease table needs to know of a lease that was granted before.
fn resumed_offer(workflow: &Workflow, step: usize, fence: Fence) -> Offer {
    let node = &workflow.plan.nodes[step];
    let declaration = node.kind.as_ref().expect("only work is leased");
    let state = &workflow.steps[step];
    Offer {
        step: workflow.plan.id_of(step).clone(),
        fence,
        kind: declaration.kind.clone(),
        number: state.attempt,
        compensate: state.backward,
        observe_first: false,
        params: state.params.clone().unwrap_or_default(),
        checkpoint: None,
        output: None,
        object: None,
        idempotency_prefix: String::new(),
        start_to_close: None,
        loss_policy: declaration.loss_policy,
        autonomy: None,
    }
}

impl Folded {
    fn take(&mut self, found: Found) {
        if self.damage.is_some() {
            return;
        }
        let head = found.records.last().map(Record::head);
        match &found.stream {
            StreamId::Audit => {
                let (workflows, restored) = (&mut self.workflows, &mut self.restored_epoch);
                let folded = each(&found, |entry: Recorded<AuditEvent>| {
                    match entry.body {
                        AuditEvent::Retired(tombstone) => {
                            workflows.insert(tombstone.workflow, Slot::Retired(entry.seq));
                        }
                        AuditEvent::Restored { epoch, .. } => *restored = (*restored).max(epoch),
                        AuditEvent::Acted { .. } => {}
                    }
                    Ok(())
                });
                if let Err(why) = folded {
                    self.damage = Some(RecoverError::Damaged {
                        stream: found.stream,
                        why,
                    });
                    return;
                }
            }
            StreamId::Catalog => {
                let catalog = &mut self.catalog;
                let folded = each(&found, |event: Recorded<CatalogEvent>| {
                    catalog.apply(&event).map_err(|error| error.to_string())
                });
                if let Err(why) = folded {
                    self.damage = Some(RecoverError::Damaged {
                        stream: found.stream,
                        why,
                    });
                    return;
                }
            }
            StreamId::Pools => {
                let pools = &mut self.pools;
                let folded = each(&found, |event: Recorded<PoolsEvent>| {
                    pools.apply(&event);
                    Ok(())
                });
                if let Err(why) = folded {
                    self.damage = Some(RecoverError::Damaged {
                        stream: found.stream,
                        why,
                    });
                    return;
                }
            }
            // The audit stream comes first, and with it the tombstones.
            StreamId::Workflow(id) if self.workflows.contains_key(id) => {
                self.leftover.push(found.stream.clone());
            }
            StreamId::Workflow(id) => {
                let slot = match fold_found(&found, &self.catalog, &mut self.objects) {
                    Ok(workflow) => Slot::Open(Box::new(workflow)),
                    Err(why) => {
                        tracing::error!(workflow = %id, why, "quarantined: its stream does not fold; the others run on");
                        Slot::Quarantined(why)
                    }
                };
                self.workflows.insert(id.clone(), slot);
            }
        }
        if let Some(head) = head {
            self.streams.found(found.stream, head);
        }
    }
}

/// Hands the events of a whole stream to `apply`.
fn each<B: serde::Serialize + serde::de::DeserializeOwned>(
    found: &Found,
    mut apply: impl FnMut(Recorded<B>) -> Result<(), String>,
) -> Result<(), String> {
    if let Some(why) = &found.damage {
        return Err(why.clone());
    }
    for record in &found.records {
        for line in record.lines() {
            let event = Recorded::read_line(line).map_err(|error| error.to_string())?;
            apply(event)?;
        }
    }
    Ok(())
}

/// Folds one workflow's stream as it was found.
fn fold_found(
    found: &Found,
    catalog: &Catalog,
    objects: &mut BTreeSet<Digest>,
) -> Result<Workflow, String> {
    if let Some(why) = &found.damage {
        return Err(why.clone());
    }
    fold_records(&found.records, catalog, objects)
}

/// Folds one workflow; `objects` gets the digests that its events name.
fn fold_records(
    records: &[Record],
    catalog: &Catalog,
    objects: &mut BTreeSet<Digest>,
) -> Result<Workflow, String> {
    let mut workflow: Option<Workflow> = None;
    for record in records {
        for line in record.lines() {
            let event = Event::read_line(line).map_err(|error| error.to_string())?;
            objects.extend(event.object().map(|object| object.digest));
            // An illegal event makes `apply` panic: in a stored stream that is damage.
            let applied = catch_unwind(AssertUnwindSafe(|| match &mut workflow {
                Some(workflow) => take(workflow, &event, catalog).err().map(Err),
                None => {
                    let Body::Created(created) = &event.body else {
                        return Some(Err("its first event is not Created".to_owned()));
                    };
                    let plan = catalog.plan(&created.plan);
                    Some(plan.map_or_else(
                        || Err(format!("its plan {} is not in the catalog", created.plan)),
                        |plan| Ok(Workflow::begin(&event, Arc::clone(plan))),
                    ))
                }
            }));
            match applied {
                Ok(None) => {}
                Ok(Some(begun)) => workflow = Some(begun?),
                Err(panic) => {
                    let why = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                        .unwrap_or_else(|| "an illegal event".to_owned());
                    return Err(format!("event {}: {why}", event.seq));
                }
            }
        }
    }
    workflow.ok_or_else(|| "it is empty".to_owned())
}

/// Takes a stored event in; one that names another plan needs the catalog.
fn take(workflow: &mut Workflow, event: &Event, catalog: &Catalog) -> Result<(), String> {
    let Body::Replanned { plan, .. } = &event.body else {
        workflow.apply(event);
        return Ok(());
    };
    let known = catalog
        .plan(plan)
        .ok_or_else(|| format!("its plan {plan} is not in the catalog"))?;
    workflow.replan(event, known);
    Ok(())
}

/// Folds one workflow from the store.
pub(super) fn fold(
    store: &dyn EventStore,
    catalog: &Catalog,
    id: &WorkflowId,
) -> Result<Workflow, String> {
    let stream = StreamId::Workflow(id.clone());
    let records = store
        .read(&stream, 1, usize::MAX)
        .map_err(|error| error.to_string())?;
    fold_records(&records, catalog, &mut BTreeSet::new())
}
