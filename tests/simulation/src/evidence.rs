//! Everything that a run leaves behind, made ready for judging.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use drover_core::{
    backup::Decoder,
    catalog::{Catalog, CatalogEvent},
    declaration::LossPolicy,
    definition::{Action, Order},
    ids::{Digest, WorkflowId},
    plan::Plan,
    stream::{Record, Recorded, StreamId},
    workflow::event::{Body, Event},
};

use crate::{
    history::{Entry, What},
    scenario::Scenario,
};

/// Records by stream.
pub type Streams = BTreeMap<StreamId, Vec<Record>>;

/// What a run left.
pub struct Evidence {
    /// What was played.
    pub scenario: Scenario,
    /// How long.
    pub simulated: Duration,
    /// What the outside saw, in order.
    pub history: Vec<Entry>,
    /// What the disk holds.
    pub streams: Streams,
    /// What the backup holds.
    pub backup: Streams,
    /// The workflows, read from the disk.
    pub stories: Vec<Story>,
    /// Workflows that had not ended, and how they stood.
    pub open: Vec<String>,
}

/// One workflow, read from the disk.
pub struct Story {
    /// Its id.
    pub id: WorkflowId,
    /// Its events.
    pub events: Vec<Event>,
    /// When each event became durable, by seq, simulated.
    pub durable: BTreeMap<u64, Duration>,
    /// What was promised of its steps, by id.
    pub promises: BTreeMap<String, Promise>,
    /// What it is pinned to.
    pub plan: Option<Arc<Plan>>,
    /// Its guards, and what they promise.
    pub spans: Vec<Span>,
    /// Its critical span, in order.
    pub critical: Vec<String>,
}

/// A guard and the steps that it matters to, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The guard.
    pub guard: String,
    /// Runs while these are offered.
    pub inside: BTreeSet<String>,
    /// Has ended before these are offered.
    pub after: BTreeSet<String>,
}

/// What a declaration promises of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Failed attempts before the step waits for an operator.
    pub attempts: u32,
    /// Lost attempts that are borne before it does.
    pub losses: u32,
    /// From ack to end.
    pub start_to_close: Option<Duration>,
    /// Others are held off for so long after its worker was last heard.
    pub critical: Option<Duration>,
    /// Runs beside others.
    pub is_guard: bool,
    /// The engine's own: a gate or a timer.
    pub is_waiting: bool,
}

impl Evidence {
    /// Reads what the disk holds.
    pub(crate) fn new(
        scenario: Scenario,
        simulated: Duration,
        history: Vec<Entry>,
        streams: Streams,
        backup: &[u8],
        open: Vec<String>,
    ) -> anyhow::Result<Self> {
        let catalog = catalog(&streams)?;
        let mut stories = Vec::new();
        for (stream, records) in &streams {
            if let StreamId::Workflow(id) = stream {
                stories.push(story(id, records, &catalog, &history)?);
            }
        }
        Ok(Self {
            scenario,
            simulated,
            history,
            streams,
            backup: unpack(backup)?,
            stories,
            open,
        })
    }

    /// Events on the disk.
    #[must_use]
    pub fn events(&self) -> u64 {
        let records = self.streams.values().flatten();
        records.map(|record| u64::from(record.count)).sum()
    }

    /// Changes made outside.
    #[must_use]
    pub fn effects(&self) -> u64 {
        let effects = self.history.iter();
        effects
            .filter(|entry| matches!(entry.what, What::Effect { .. }))
            .count() as u64
    }

    /// Over the whole history and everything on the disk.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{:?}{:?}", self.history, self.streams).as_bytes())
    }
}

fn catalog(streams: &Streams) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog::default();
    for record in streams.get(&StreamId::Catalog).into_iter().flatten() {
        for line in record.lines() {
            let event: Recorded<CatalogEvent> = Recorded::read_line(line)?;
            catalog.apply(&event)?;
        }
    }
    Ok(catalog)
}

fn story(
    id: &WorkflowId,
    records: &[Record],
    catalog: &Catalog,
    history: &[Entry],
) -> anyhow::Result<Story> {
    let mut events = Vec::new();
    for record in records {
        for line in record.lines() {
            events.push(Event::read_line(line).with_context(|| format!("in {id}"))?);
        }
    }
    let Some(Body::Created(created)) = events.first().map(|event| &event.body) else {
        return Err(anyhow!("the first event of {id} is not Created"));
    };
    let plan = catalog.plan(&created.plan).cloned();
    let mut durable = BTreeMap::new();
    let mut next = 1;
    for entry in history {
        match &entry.what {
            What::Durable {
                stream: StreamId::Workflow(of),
                seq,
            } if of == id => {
                for seq in next..=*seq {
                    durable.insert(seq, entry.at);
                }
                next = seq + 1;
            }
            _ => {}
        }
    }
    let promises = plan.as_deref().map(promises).unwrap_or_default();
    let spans = plan.as_deref().map(spans).unwrap_or_default();
    let critical = plan.as_deref().map_or_else(Vec::new, |plan| {
        let ids = plan.critical.iter().map(|&index| plan.id_of(index));
        ids.map(ToString::to_string).collect()
    });
    Ok(Story {
        id: id.clone(),
        events,
        durable,
        promises,
        plan,
        spans,
        critical,
    })
}

fn spans(plan: &Plan) -> Vec<Span> {
    let order = Order::of(&plan.definition);
    let nodes = plan.definition.nodes.iter().enumerate();
    let guards = nodes.filter_map(|(index, node)| Some((index, node.guard()?)));
    let named = |keep: &dyn Fn(usize) -> bool| {
        let kept = (0..plan.nodes.len()).filter(|&index| keep(index));
        kept.map(|index| plan.id_of(index).to_string()).collect()
    };
    guards
        .map(|(index, guard)| {
            let between = order.between(guard.from, guard.until);
            Span {
                guard: plan.id_of(index).to_string(),
                inside: named(&|step| between.contains(&step)),
                after: named(&|step| order.is_before(guard.until, step)),
            }
        })
        .collect()
}

fn promises(plan: &Plan) -> BTreeMap<String, Promise> {
    let promise = |index: usize| {
        let node = &plan.nodes[index];
        let critical = match plan.loss_policy_of(index) {
            LossPolicy::FinishCritical { max } => Some(max),
            LossPolicy::StopAtPermit | LossPolicy::RaceOk => None,
        };
        let promise = Promise {
            attempts: node.retry.maximum_attempts,
            losses: node.retry.maximum_losses,
            start_to_close: node.timeouts.start_to_close,
            critical,
            is_guard: plan.is_guard(index),
            is_waiting: !matches!(plan.definition.nodes[index].action, Action::Run { .. }),
        };
        (plan.id_of(index).to_string(), promise)
    };
    (0..plan.nodes.len()).map(promise).collect()
}

fn unpack(backup: &[u8]) -> anyhow::Result<Streams> {
    let mut streams = Streams::new();
    if backup.is_empty() {
        return Ok(streams);
    }
    let mut decoder = Decoder::default();
    for (stream, record) in decoder.feed(backup)? {
        streams.entry(stream).or_default().push(record);
    }
    decoder.finish()?;
    Ok(streams)
}
