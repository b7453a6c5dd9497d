//! `drover backup` and `drover restore`.

use std::{
    fs::File,
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use drover_core::time::Timestamp;
use drover_proto::v1;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Session;
use crate::{
    args::{BackupArgs, BackupCommand, Global, RestoreArgs},
    client::within,
    convert,
    copied::CopiedFolder,
    failure::{Failure, Outcome},
};

const CHUNK: usize = 1 << 18;

/// Progress on stderr when it is a terminal.
fn bar(length: Option<u64>, what: &'static str) -> ProgressBar {
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::new_spinner(),
    };
    let template = if length.is_some() {
        "{msg} {bar:30} {bytes}/{total_bytes}"
    } else {
        "{msg} {bytes}"
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is sound"));
    bar.set_message(what);
    bar.set_draw_target(if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    bar
}

pub(crate) async fn backup(args: BackupArgs, global: &Global) -> Outcome {
    match (args.command, args.file) {
        (Some(BackupCommand::Status), _) => status(global).await,
        (None, Some(file)) => write(file, global).await,
        (None, None) => Err(Failure::usage("name the file to write")),
    }
}

#[derive(Serialize)]
struct Status {
    folder: String,
    lag_seconds: f64,
    failure: Option<String>,
    streams: u64,
    records: u64,
    bytes: u64,
    epoch: u64,
    at: Option<Timestamp>,
}

async fn status(global: &Global) -> Outcome {
    let mut session = Session::open(global).await?;
    session.look_at_clock().await?;
    let request = within(v1::GetBackupStatusRequest {}, session.timeout);
    let found = session.client.admin.get_backup_status(request).await?;
    let found = found.into_inner();
    if found.folder.is_empty() {
        return Err(Failure::failed(
            "this coordinator has no continuous backup: start it with --backup-dir",
        ));
    }
    let lag = found
        .lag
        .and_then(|lag| std::time::Duration::try_from(lag).ok());
    let failure = found.failure.map(|failure| (failure.code, failure.message));
    let status = Status {
        folder: found.folder,
        lag_seconds: lag.unwrap_or_default().as_secs_f64(),
        failure: failure
            .as_ref()
            .map(|(code, message)| format!("{message} [{code}]")),
        streams: found.streams,
        records: found.records,
        bytes: found.bytes,
        epoch: found.epoch,
        at: convert::time(found.at.as_ref()),
    };
    session.output.one(&status, &status.folder, || {
        format!(
            "{}\n{} streams, {} records, {} MiB\nnewest commit {} (epoch {}), {:.1} s behind",
            status.folder,
            status.streams,
            status.records,
            status.bytes >> 20,
            session.output.time(status.at),
            status.epoch,
            status.lag_seconds,
        )
    })?;
    match failure {
        Some((code, message)) => Err(Failure::failed(format!("{message} [{code}]"))),
        None => Ok(()),
    }
}

async fn write(file_name: PathBuf, global: &Global) -> Outcome {
    let shown = file_name.display().to_string();
    if file_name.exists() {
        return Err(Failure::usage(format!(
            "{shown} exists: choose another name"
        )));
    }
    let mut session = Session::open(global).await?;
    let mut stream = session
        .client
        .admin
        .backup(v1::BackupRequest {})
        .await?
        .into_inner();
    let file_error = |error: std::io::Error| Failure::failed(format!("{shown}: {error}"));
    // Whole or not there: the name appears once everything is on disk.
    let staged = file_name.with_extension("partial");
    let mut file = File::create(&staged).map_err(file_error)?;
    let bar = bar(None, "backup");
    let mut decoder = drover_core::backup::Decoder::default();
    while let Some(chunk) = stream.message().await? {
        file.write_all(&chunk.data).map_err(file_error)?;
        decoder
            .feed(&chunk.data)
            .map_err(|error| Failure::failed(error.to_string()))?;
        bar.inc(chunk.data.len() as u64);
    }
    let summary = decoder
        .finish()
        .map_err(|error| Failure::failed(error.to_string()))?;
    file.sync_all().map_err(file_error)?;
    std::fs::rename(&staged, &file_name).map_err(file_error)?;
    bar.finish_and_clear();
    let signed = if summary.signature.is_empty() {
        "not signed"
    } else {
        "signed"
    };
    session.output.text(&format!(
        "{shown}: {} records, epoch {}, audit head {} ({signed})",
        summary.records, summary.epoch, summary.audit_head.hash
    ))
}

/// Where a restore reads.
enum Source {
    /// A backup in one file.
    File {
        shown: String,
        file: File,
        length: u64,
    },
    /// A continuous backup.
    Folder(CopiedFolder),
}

impl Source {
    fn open(path: &Path) -> Outcome<Self> {
        if path.is_dir() {
            return CopiedFolder::open(path).map(Self::Folder);
        }
        let shown = path.display().to_string();
        let unreadable = |error: std::io::Error| Failure::usage(format!("{shown}: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        Ok(Self::File {
            shown,
            file,
            length,
        })
    }

    /// About so many bytes.
    fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Folder(folder) => folder.copied.live_bytes(),
        }
    }

    /// Hands the backup on in pieces until `send` has had enough. Blocks.
    fn read(self, mut send: impl FnMut(Vec<u8>) -> bool) -> Outcome {
        match self {
            Self::Folder(folder) => folder.as_backup(send),
            Self::File {
                shown, mut file, ..
            } => loop {
                let mut data = vec![0; CHUNK];
                let n = file
                    .read(&mut data)
                    .map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
                data.truncate(n);
                if n == 0 || !send(data) {
                    return Ok(());
                }
            },
        }
    }
}

pub(crate) async fn restore(args: RestoreArgs, global: &Global) -> Outcome {
    if !args.yes {
        return Err(Failure::usage(
            "restore fills an empty coordinator and pauses every open workflow; the old coordinator must not run any more: add --yes",
        ));
    }
    let mut session = Session::open(global).await?;
    let source = Source::open(&args.file)?;
    let bar = bar(Some(source.length()), "restore");
    let (to, chunks) = tokio::sync::mpsc::channel(4);
    let progress = bar.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut reason = args.reason;
        source.read(|data| {
            progress.inc(data.len() as u64);
            let chunk = v1::RestoreRequest {
                data,
                reason: std::mem::take(&mut reason),
            };
            // The coordinator may have refused already; its answer says why.
            to.blocking_send(chunk).is_ok()
        })
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let (read, answer) = tokio::join!(read, session.client.admin.restore(stream));
    bar.finish_and_clear();
    read.map_err(|error| Failure::failed(format!("reading the backup ended: {error}")))??;
    let report = answer?.into_inner();
    session.output.text(&format!(
        "restored {} streams with epoch {}; {} open workflows are paused: look at each and resume it",
        report.streams, report.epoch, report.paused
    ))
}
