//! What the null engine imitates: the messages and the bytes of a real run.

use std::path::Path;

use anyhow::Context as _;
use drover_coordinator::store::{EventStore as _, sled::SledStore};
use drover_core::stream::{Record, StreamId};
use drover_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};

/// One message of each sort, as the real coordinator sent it.
#[derive(Clone, Debug)]
pub(crate) struct Templates {
    pub(crate) offer: v1::Offer,
    pub(crate) started: v1::StartWorkflowResponse,
}

/// Mean bytes of what was appended for each message, and the messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Steps of a workflow.
    pub(crate) steps: u32,
    pub(crate) start_bytes: usize,
    /// Per start, in the one record of a commit.
    pub(crate) audit_bytes: usize,
    pub(crate) ack_bytes: usize,
    pub(crate) result_bytes: usize,
    /// Records of a real run that were none of these, in percent: the null engine leaves them out.
    pub(crate) other_records_percent: f64,
    offer: String,
    started: String,
}

/// Which message an event is the answer to.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// Records of one sort.
#[derive(Default)]
struct Sort {
    records: usize,
    bytes: usize,
}

impl Sort {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.bytes += record.lines.len();
    }

    fn mean(&self) -> usize {
        self.bytes.checked_div(self.records).unwrap_or(0)
    }
}

impl Shape {
    /// Reads it from the store of a coordinator that has ended.
    pub(crate) fn of_run(data: &Path, steps: u32, templates: &Templates) -> anyhow::Result<Self> {
        let (mut start, mut ack, mut result) = (Sort::default(), Sort::default(), Sort::default());
        let (mut other, mut audit_bytes) = (Sort::default(), 0);
        SledStore::open(data)?.scan(&mut |found| {
            for record in &found.records {
                match found.stream {
                    StreamId::Workflow(_) => {}
                    StreamId::Audit => {
                        audit_bytes += record.lines.len();
                        continue;
                    }
                    StreamId::Catalog | StreamId::Pools => continue,
                }
                let first = record.lines().next().unwrap_or_default();
                let sort = match serde_json::from_slice(first) {
                    Ok(Line { kind: "Created" }) => &mut start,
                    Ok(Line {
                        kind: "AttemptAcked",
                    }) => &mut ack,
                    Ok(Line {
                        kind: "AttemptSucceeded",
                    }) => &mut result,
                    _ => &mut other,
                };
                sort.add(record);
            }
        })?;
        let all = start.records + ack.records + result.records + other.records;
        anyhow::ensure!(
            start.records > 0 && ack.records > 0 && result.records > 0,
            "the run left no workflow behind to measure"
        );
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
        let other_records_percent = crate::report::percent(other.records as f64, all as f64);
        Ok(Self {
            steps,
            start_bytes: start.mean(),
            audit_bytes: audit_bytes / start.records,
            ack_bytes: ack.mean(),
            result_bytes: result.mean(),
            other_records_percent,
            offer: hex::encode(templates.offer.encode_to_vec()),
            started: hex::encode(templates.started.encode_to_vec()),
        })
    }

    /// Bytes of events that one step brings.
    pub(crate) fn step_bytes(&self) -> usize {
        let steps = self.steps as usize;
        (self.start_bytes + self.audit_bytes).div_ceil(steps) + self.ack_bytes + self.result_bytes
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }

    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The messages.
    pub(crate) fn templates(&self) -> anyhow::Result<Templates> {
        Ok(Templates {
            offer: v1::Offer::decode(&*hex::decode(&self.offer)?)?,
            started: v1::StartWorkflowResponse::decode(&*hex::decode(&self.started)?)?,
        })
    }
}
