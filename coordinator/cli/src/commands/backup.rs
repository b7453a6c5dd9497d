//! `drover backup` and `drover restore`.

use std::io::{IsTerminal as _, Write as _};

use drover_proto::v1;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::AsyncReadExt as _;

use super::Session;
use crate::{
    args::{BackupArgs, Global, RestoreArgs},
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
    let shown = args.file.display().to_string();
    if args.file.exists() {
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
    let staged = args.file.with_extension("partial");
    let mut file = std::fs::File::create(&staged).map_err(file_error)?;
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
    std::fs::rename(&staged, &args.file).map_err(file_error)?;
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

pub(crate) async fn restore(args: RestoreArgs, global: &Global) -> Outcome {
    if !args.yes {
        return Err(Failure::usage(
            "restore fills an empty coordinator and pauses every open workflow; the old coordinator must not run any more: add --yes",
        ));
    }
    let shown = args.file.display().to_string();
    let file_error = |error: std::io::Error| Failure::usage(format!("{shown}: {error}"));
    let mut file = tokio::fs::File::open(&args.file)
        .await
        .map_err(file_error)?;
    let length = file.metadata().await.map_err(file_error)?.len();
    let mut session = Session::open(global).await?;
    let bar = bar(Some(length), "restore");
    let (to, chunks) = tokio::sync::mpsc::channel(4);
    let read = async {
        let mut reason = args.reason;
        loop {
            let mut data = vec![0; CHUNK];
            let n = file.read(&mut data).await?;
            data.truncate(n);
            bar.inc(n as u64);
            let chunk = v1::RestoreRequest {
                data,
                reason: std::mem::take(&mut reason),
            };
            // The coordinator may have refused already; its answer says why.
            if n == 0 || to.send(chunk).await.is_err() {
                break;
            }
        }
        drop(to);
        Ok::<(), std::io::Error>(())
    };
    let stream = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let (read, answer) = tokio::join!(read, session.client.admin.restore(stream));
    bar.finish_and_clear();
    read.map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    let report = answer?.into_inner();
    session.output.text(&format!(
        "restored {} streams with epoch {}; {} open workflows are paused: look at each and resume it",
        report.streams, report.epoch, report.paused
    ))
}
