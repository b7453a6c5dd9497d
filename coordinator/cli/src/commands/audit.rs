//! `drover audit`.

use std::path::Path;

use drover_core::{
    backup::{ChainCheck, Decoder},
    ids::Digest,
    stream::StreamId,
};
use drover_proto::v1;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde::Serialize;
use serde_json::Value;

use super::Session;
use crate::{
    args::{AuditCommand, Format, Global},
    failure::{Failure, Outcome},
    files,
    output::Output,
};

pub(crate) async fn run(command: AuditCommand, global: &Global) -> Outcome {
    match command {
        AuditCommand::List { follow } => Session::open(global).await?.audit(follow).await,
        AuditCommand::Verify { file, public_key } => {
            let key = public_key.as_deref().map(read_key).transpose()?;
            let report = match &file {
                Some(path) => of_backup(path)?,
                None => Session::open(global).await?.of_coordinator().await?,
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

/// A backup is checked here, without any coordinator.
fn of_backup(path: &Path) -> Outcome<Report> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let damaged = |error: &dyn std::fmt::Display| Failure::failed(format!("{shown}: {error}"));
    let mut decoder = Decoder::default();
    let mut check = ChainCheck::default();
    let mut faults = Vec::new();
    for chunk in bytes.chunks(1 << 18) {
        for (stream, record) in decoder.feed(chunk).map_err(|error| damaged(&error))? {
            if let Err(error) = check.take(&stream, &record) {
                faults.push(Fault {
                    stream: stream.to_string(),
                    seq: record.first,
                    message: error.to_string(),
                });
            }
        }
    }
    let summary = decoder.finish().map_err(|error| damaged(&error))?;
    let head = check.head(&StreamId::Audit);
    if head != summary.audit_head {
        faults.push(Fault {
            stream: StreamId::Audit.to_string(),
            seq: head.seq,
            message: "the stream does not end where the backup says".to_owned(),
        });
    }
    Ok(Report {
        streams: check.streams() as u64,
        records: check.records,
        events: check.events,
        head: head.hash.to_string(),
        signature: summary.signature,
        faults,
    })
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
