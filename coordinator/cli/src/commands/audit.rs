//! `drover audit`.

use std::path::Path;

use drover_core::{
    audit::{AuditCheck, AuditFault},
    backup::{
        BackupError, ChainCheck, Decoder,
        against::{Against, Departure, Known},
    },
    ids::Digest,
    stream::{Head, Record, StreamId},
};
use drover_proto::v1;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde::Serialize;
use serde_json::Value;

use super::Session;
use crate::{
    args::{AuditCommand, Format, Global},
    copied::CopiedFolder,
    failure::{Failure, Outcome},
    files,
    output::Output,
};

pub(crate) async fn run(command: AuditCommand, global: &Global) -> Outcome {
    match command {
        AuditCommand::List { follow } => Session::open(global).await?.audit(follow).await,
        AuditCommand::Verify {
            file,
            against,
            public_key,
        } => {
            let key = public_key.as_deref().map(read_key).transpose()?;
            let against = against.as_deref().map(known).transpose()?;
            let report = match (&file, against) {
                (Some(path), against) => of_copy(path, against)?,
                (None, None) => Session::open(global).await?.of_coordinator().await?,
                (None, Some(known)) => Session::open(global).await?.of_download(known).await?,
            };
            conclude(&report, key.as_ref(), &Output::new(global))
        }
    }
}

#[derive(Serialize)]
struct Report {
    streams: u64,
    records: u64,
    events: u64,
    head: String,
    signature: String,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    stream: String,
    seq: u64,
    message: String,
}

impl From<AuditFault> for Fault {
    fn from(fault: AuditFault) -> Self {
        Self {
            stream: fault.stream.to_string(),
            seq: 1,
            message: fault.message,
        }
    }
}

impl From<Departure> for Fault {
    fn from(departure: Departure) -> Self {
        Self {
            stream: departure.stream.to_string(),
            seq: departure.seq,
            message: departure.message,
        }
    }
}

impl Session {
    async fn audit(&mut self, follow: bool) -> Outcome {
        self.look_at_clock().await?;
        let request = v1::ListAuditRequest {
            from_seq: 0,
            follow,
        };
        let mut stream = self.client.admin.list_audit(request).await?.into_inner();
        while let Some(chunk) = stream.message().await? {
            match self.output.format {
                Format::Table | Format::Wide => self.print_audit(&chunk.lines)?,
                Format::Json | Format::Jsonl | Format::Yaml | Format::Name => {
                    self.output.raw(&chunk.lines)?
                }
            }
        }
        Ok(())
    }

    fn print_audit(&self, lines: &[u8]) -> Outcome {
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let entry: Value = serde_json::from_slice(line).map_err(|error| {
                Failure::failed(format!("a line of the audit log is not JSON: {error}"))
            })?;
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let at = drover_core::time::Timestamp::parse(&text(&entry["at"]));
            let data = &entry["data"];
            let what = match text(&entry["type"]).as_str() {
                "Acted" => format!(
                    "{:<24} {:<24} {}",
                    text(&data["act"]),
                    text(&data["target"]),
                    text(&data["message"])
                ),
                other => format!("{other:<24} {data}"),
            };
            let reason = text(&data["reason"]);
            let reason = if reason.is_empty() {
                reason
            } else {
                format!(" ({reason})")
            };
            self.output.text(&format!(
                "{:>5}  {:<12} {:<28} {what}{reason}",
                entry["seq"].to_string(),
                self.output.time(at),
                text(&entry["actor"])
            ))?;
        }
        Ok(())
    }

    /// What a coordinator holds is compared here: the copy is on this machine.
    async fn of_download(&mut self, known: Known) -> Outcome<Report> {
        let request = v1::BackupRequest {};
        let mut stream = self.client.admin.backup(request).await?.into_inner();
        let mut look = Look::new(Some(known));
        let mut decoder = Decoder::default();
        let damaged = |error: BackupError| Failure::failed(error.to_string());
        while let Some(chunk) = stream.message().await? {
            for (stream, record) in decoder.feed(&chunk.data).map_err(damaged)? {
                look.take(&stream, &record);
            }
        }
        let summary = decoder.finish().map_err(damaged)?;
        Ok(look.conclude(summary.audit_head, summary.signature))
    }

    async fn of_coordinator(&mut self) -> Outcome<Report> {
        // Walking a large store takes a while: no deadline.
        let report = self
            .client
            .admin
            .verify_audit(v1::VerifyAuditRequest {})
            .await?
            .into_inner();
        Ok(Report {
            streams: report.streams,
            records: report.records,
            events: report.events,
            head: report.head,
            signature: report.signature,
            faults: report
                .faults
                .into_iter()
                .map(|fault| Fault {
                    stream: fault.stream,
                    seq: fault.seq,
                    message: fault.message,
                })
                .collect(),
        })
    }
}

/// What is looked at while records pass.
struct Look {
    check: ChainCheck,
    audit: AuditCheck,
    against: Option<Against>,
    faults: Vec<Fault>,
}

impl Look {
    fn new(against: Option<Known>) -> Self {
        Self {
            check: ChainCheck::default(),
            audit: AuditCheck::default(),
            against: against.map(Against::new),
            faults: Vec::new(),
        }
    }

    fn take(&mut self, stream: &StreamId, record: &Record) {
        if *stream == StreamId::Audit {
            record.lines().for_each(|line| self.audit.take(line));
        }
        if let Err(error) = self.check.take(stream, record) {
            self.faults.push(Fault {
                stream: stream.to_string(),
                seq: record.first,
                message: error.to_string(),
            });
        }
        if let Some(against) = &mut self.against {
            against.take(stream, record);
        }
    }

    /// The audit stream ends where the copy says.
    fn conclude(mut self, audit_head: Head, signature: String) -> Report {
        let head = self.check.head(&StreamId::Audit);
        if head != audit_head {
            self.faults.push(Fault {
                stream: StreamId::Audit.to_string(),
                seq: head.seq,
                message: "the stream does not end where the backup says".to_owned(),
            });
        }
        let mut faults = self.faults;
        faults.extend(
            self.audit
                .faults(self.check.heads())
                .into_iter()
                .map(Fault::from),
        );
        let departures = self.against.map(Against::departures).unwrap_or_default();
        faults.extend(departures.into_iter().map(Fault::from));
        Report {
            streams: self.check.streams() as u64,
            records: self.check.records,
            events: self.check.events,
            head: head.hash.to_string(),
            signature,
            faults,
        }
    }
}

/// Hands every record of a backup, or of a continuous one's folder, to `visit`; where its audit stream ends, and the
/// signature of that.
fn read(path: &Path, mut visit: impl FnMut(&StreamId, &Record)) -> Outcome<(Head, String)> {
    if path.is_dir() {
        let folder = CopiedFolder::open(path)?;
        folder.each(visit)?;
        return Ok((folder.copied.head(&StreamId::Audit), String::new()));
    }
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let damaged = |error: BackupError| Failure::failed(format!("{shown}: {error}"));
    let mut decoder = Decoder::default();
    for chunk in bytes.chunks(1 << 18) {
        for (stream, record) in decoder.feed(chunk).map_err(damaged)? {
            visit(&stream, &record);
        }
    }
    let summary = decoder.finish().map_err(damaged)?;
    Ok((summary.audit_head, summary.signature))
}

/// A copy is checked here, without any coordinator.
fn of_copy(path: &Path, against: Option<Known>) -> Outcome<Report> {
    let mut look = Look::new(against);
    let (head, signature) = read(path, |stream, record| look.take(stream, record))?;
    Ok(look.conclude(head, signature))
}

fn known(path: &Path) -> Outcome<Known> {
    let mut known = Known::default();
    read(path, |stream, record| known.take(stream, record))?;
    Ok(known)
}

fn read_key(path: &Path) -> Outcome<VerifyingKey> {
    let text = files::read(path)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .ok()
        .and_then(|()| VerifyingKey::from_bytes(&bytes).ok())
        .ok_or_else(|| {
            Failure::usage(format!(
                "{}: not an Ed25519 public key of 64 hex digits",
                path.display()
            ))
        })
}

fn conclude(report: &Report, key: Option<&VerifyingKey>, output: &Output) -> Outcome {
    let signed = key.map(|key| is_signed(report, key));
    output.one(report, &report.head, || {
        let mut text = format!(
            "{} streams, {} records, {} events",
            report.streams, report.records, report.events
        );
        for fault in &report.faults {
            text.push_str(&format!(
                "\n{} at event {}: {}",
                fault.stream, fault.seq, fault.message
            ));
        }
        let signature = match (signed, report.signature.is_empty()) {
            (Some(true), _) => "signed with the given key",
            (Some(false), _) => "NOT signed with the given key",
            (None, true) => "not signed",
            (None, false) => "signed; name the key with --public-key to check it",
        };
        text.push_str(&format!("\naudit head {} ({signature})", report.head));
        text
    })?;
    if !report.faults.is_empty() {
        return Err(Failure::failed("the chain is broken"));
    }
    if signed == Some(false) {
        return Err(Failure::failed(
            "the audit head is not signed with the given key",
        ));
    }
    Ok(())
}

fn is_signed(report: &Report, key: &VerifyingKey) -> bool {
    let mut bytes = [0; 64];
    let head = Digest::parse(&report.head);
    match (hex::decode_to_slice(&report.signature, &mut bytes), head) {
        (Ok(()), Some(head)) => key.verify(&head.0, &Signature::from_bytes(&bytes)).is_ok(),
        _ => false,
    }
}
