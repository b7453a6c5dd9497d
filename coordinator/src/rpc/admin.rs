//! `drover.v1.AdminService`.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use drover_core::{
    audit::{AuditCheck, AuditEvent},
    backup::{ChainCheck, Decoder, Encoder, Summary},
    stream::{Head, StreamId},
};
use drover_proto::v1;
use ed25519_dalek::Signer as _;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Shared, SigningKey, actor, to_wire,
    workflow::{BoxStream, follow},
};
use crate::{
    engine::messages::{Input, Restore, Snapshot},
    objects::Objects,
    refusal::{Kind, Refusal},
};

/// Bytes of one chunk of a backup.
const CHUNK: usize = 1 << 18;

/// Records that are read at once.
const READ_AT_ONCE: usize = 512;

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Shared);

fn sign(key: Option<&SigningKey>, head: &Head) -> String {
    key.map_or_else(String::new, |key| {
        hex::encode(key.sign(&head.hash.0).to_bytes())
    })
}

/// The streams of a snapshot in the order of a store's scan.
fn in_order(snapshot: &Snapshot) -> Vec<(StreamId, Head)> {
    snapshot
        .heads
        .iter()
        .map(|(stream, head)| (stream.clone(), *head))
        .collect()
}

/// Walks all records of a snapshot. Blocks.
fn walk(
    snapshot: &Snapshot,
    mut visit: impl FnMut(&StreamId, &drover_core::stream::Record) -> Result<(), Status>,
) -> Result<(), Status> {
    for (stream, head) in in_order(snapshot) {
        let mut next = 1;
        while next <= head.seq {
            let records = snapshot
                .store
                .read(&stream, next, READ_AT_ONCE)
                .map_err(|error| Status::unavailable(crate::supervise::chain(&error)))?;
            for record in &records {
                if record.first <= head.seq {
                    visit(&stream, record)?;
                }
            }
            match records.last() {
                Some(record) => next = record.head().seq + 1,
                None => break,
            }
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl v1::admin_service_server::AdminService for Service {
    type BackupStream = BoxStream<v1::BackupChunk>;
    type ListAuditStream = BoxStream<v1::AuditLines>;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let actor = actor(&request);
        let entry = AuditEvent::Acted {
            act: "backup".to_owned(),
            target: "store".to_owned(),
            reason: String::new(),
            message: String::new(),
        };
        let snapshot = self
            .0
            .engine
            .ask(|answer| Input::Snapshot {
                actor,
                audit: Some(entry),
                answer,
            })
            .await?;
        let key = self.0.signing_key.clone();
        let objects = Arc::clone(&self.0.objects);
        let (to, from) = mpsc::channel(4);
        self.0.tasks.spawn_blocking(move || {
            let result = write_backup(&snapshot, &objects, key.as_ref(), |data| {
                to.blocking_send(Ok(v1::BackupChunk { data }))
                    .map_err(|_| Status::cancelled("the client hung up"))
            });
            if let Err(status) = result {
                drop(to.blocking_send(Err(status)));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestoreRequest>>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        let actor = actor(&request);
        let upload = Upload::create(&self.0)?;
        let (summary, reason) = receive(request.into_inner(), &upload).await?;
        let file = upload.path.clone();
        let report = self
            .0
            .engine
            .ask(|answer| {
                Input::Restore(Box::new(Restore {
                    file,
                    summary,
                    actor,
                    reason,
                    answer,
                }))
            })
            .await?;
        Ok(Response::new(v1::RestoreResponse {
            epoch: report.epoch,
            streams: report.streams,
            paused: report.paused,
        }))
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<Self::ListAuditStream>, Status> {
        let request = request.into_inner();
        let lines = follow(&self.0, StreamId::Audit, request.from_seq, request.follow).await?;
        let lines = lines.map(|lines| lines.map(|lines| v1::AuditLines { lines }));
        Ok(Response::new(Box::pin(lines)))
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::AuditReport>, Status> {
        let actor = actor(&request);
        let snapshot = self
            .0
            .engine
            .ask(|answer| Input::Snapshot {
                actor,
                audit: None,
                answer,
            })
            .await?;
        let key = self.0.signing_key.clone();
        let report = tokio::task::spawn_blocking(move || verify(&snapshot, key.as_ref()))
            .await
            .map_err(|_| Status::internal("the verification panicked"))??;
        Ok(Response::new(report))
    }

    async fn get_backup_status(
        &self,
        _: Request<v1::GetBackupStatusRequest>,
    ) -> Result<Response<v1::BackupStatus>, Status> {
        let Some(status) = &self.0.backup else {
            return Ok(Response::new(v1::BackupStatus::default()));
        };
        let report = status.report();
        Ok(Response::new(v1::BackupStatus {
            folder: report.folder.display().to_string(),
            lag: prost_types::Duration::try_from(report.lag).ok(),
            failure: report
                .failure
                .map(|(code, message)| to_wire::stored_failure(code, message)),
            streams: report.streams,
            records: report.records,
            bytes: report.bytes,
            epoch: report.epoch,
            at: report.at.map(to_wire::timestamp),
        }))
    }

    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::Version>, Status> {
        let status = self.0.engine.ask(|answer| Input::Status { answer }).await?;
        Ok(Response::new(v1::Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: status.epoch,
            started_at: Some(to_wire::timestamp(status.started_at)),
            now: Some(to_wire::timestamp(status.now)),
            free_bytes: status.free_bytes.unwrap_or(0),
            storage: status
                .storage
                .map(|(code, message)| to_wire::stored_failure(code, message)),
        }))
    }
}

fn write_backup(
    snapshot: &Snapshot,
    objects: &Objects,
    key: Option<&SigningKey>,
    mut send: impl FnMut(Vec<u8>) -> Result<(), Status>,
) -> Result<(), Status> {
    let (mut encoder, mut buffer) = Encoder::begin(snapshot.epoch, snapshot.now);
    walk(snapshot, |stream, record| {
        buffer.extend(encoder.record(stream, record));
        if buffer.len() >= CHUNK {
            send(std::mem::take(&mut buffer))?;
        }
        Ok(())
    })?;
    // Listed after the snapshot was taken, so everything that its events name is there.
    let all = objects
        .all()
        .map_err(|error| Status::unavailable(format!("the objects cannot be listed: {error}")))?;
    for object in all {
        match objects.read(&object) {
            Ok(text) => buffer.extend(encoder.object(&text)),
            // It is as lost without a backup.
            Err(refusal) => tracing::error!("a backup lacks an object: {refusal}"),
        }
        for chunk in std::mem::take(&mut buffer).chunks(CHUNK) {
            send(chunk.to_vec())?;
        }
    }
    let head = snapshot
        .heads
        .get(&StreamId::Audit)
        .copied()
        .unwrap_or(Head::EMPTY);
    buffer.extend(encoder.end(head, sign(key, &head)));
    send(buffer)
}

fn verify(snapshot: &Snapshot, key: Option<&SigningKey>) -> Result<v1::AuditReport, Status> {
    let mut check = ChainCheck::default();
    let mut faults = Vec::new();
    let mut broken = None;
    let mut audit = AuditCheck::default();
    walk(snapshot, |stream, record| {
        if *stream == StreamId::Audit {
            record.lines().for_each(|line| audit.take(line));
        }
        if broken.as_ref() == Some(stream) {
            return Ok(());
        }
        if let Err(error) = check.take(stream, record) {
            broken = Some(stream.clone());
            faults.push(v1::AuditFault {
                stream: stream.to_string(),
                seq: record.first,
                message: error.to_string(),
            });
        }
        Ok(())
    })?;
    for (stream, head) in in_order(snapshot) {
        let found = check.head(&stream);
        if found != head
            && !faults
                .iter()
                .any(|fault| fault.stream == stream.to_string())
        {
            faults.push(v1::AuditFault {
                stream: stream.to_string(),
                seq: found.seq + 1,
                message: format!(
                    "it should reach event {} and ends at {}",
                    head.seq, found.seq
                ),
            });
        }
    }
    faults.extend(
        audit
            .faults(check.heads())
            .into_iter()
            .map(|fault| v1::AuditFault {
                stream: fault.stream.to_string(),
                seq: 1,
                message: fault.message,
            }),
    );
    let head = check.head(&StreamId::Audit);
    Ok(v1::AuditReport {
        streams: check.streams() as u64,
        records: check.records,
        events: check.events,
        faults,
        head: head.hash.to_string(),
        signature: sign(key, &head),
    })
}

/// A file that an upload goes to; removed with it.
struct Upload {
    path: PathBuf,
}

impl Upload {
    fn create(shared: &Shared) -> Result<Self, Status> {
        std::fs::create_dir_all(&shared.uploads).map_err(|error| {
            Status::unavailable(format!("{}: {error}", shared.uploads.display()))
        })?;
        let name = format!("restore-{}", uuid::Uuid::new_v4());
        Ok(Self {
            path: shared.uploads.join(name),
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), "an upload could not be removed: {error}");
        }
    }
}

/// Receives a backup into a file and checks all of it: every chain, and that it is whole.
async fn receive(
    mut chunks: Streaming<v1::RestoreRequest>,
    upload: &Upload,
) -> Result<(Summary, String), Status> {
    let invalid = |message: String| Refusal::new(Kind::Invalid, "backup-invalid", message);
    let file_error =
        |error: std::io::Error| Status::unavailable(format!("{}: {error}", upload.path.display()));
    let mut file = std::fs::File::create(&upload.path).map_err(file_error)?;
    let mut decoder = Decoder::default();
    let mut check = ChainCheck::default();
    let mut reason = String::new();
    while let Some(chunk) = chunks.message().await? {
        if !chunk.reason.is_empty() {
            reason = chunk.reason;
        }
        file.write_all(&chunk.data).map_err(file_error)?;
        for (stream, record) in decoder
            .feed(&chunk.data)
            .map_err(|error| invalid(error.to_string()))?
        {
            check
                .take(&stream, &record)
                .map_err(|error| invalid(format!("{stream}: {error}")))?;
        }
    }
    file.sync_all().map_err(file_error)?;
    let summary = decoder
        .finish()
        .map_err(|error| invalid(error.to_string()))?;
    if check.head(&StreamId::Audit) != summary.audit_head {
        return Err(
            invalid("its audit stream does not end where the backup says".to_owned()).into(),
        );
    }
    Ok((summary, reason))
}
