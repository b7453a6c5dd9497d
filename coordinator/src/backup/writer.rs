//! The thread that copies.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time};

use super::{
    Message, Status,
    folder::{Folder, FolderError},
};
use crate::objects::Objects;

/// Commits of so long a time share one sync. Well below the second that the copy may be behind.
const GATHER: Duration = Duration::from_millis(100);

/// Between two tries after a failure: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Copies until the engine's side is gone and everything it handed over is copied.
pub(super) async fn run(
    status: Arc<Status>,
    objects: Arc<Objects>,
    mut from: mpsc::Receiver<Message>,
) {
    let mut folder = None;
    let mut pause = RETRY.0;
    // Cancel-safe: a queue's recv.
    while let Some(first) = from.recv().await {
        let mut messages = vec![first];
        let until = time::Instant::now() + GATHER;
        while let Ok(Some(next)) = time::timeout_at(until, from.recv()).await {
            messages.push(next);
        }
        messages.iter().for_each(|message| taken(&status, message));
        match write(&status, &objects, &mut folder, messages) {
            Ok(true) => pause = RETRY.0,
            // Without a folder: until the whole store is handed in.
            Ok(false) => {}
            Err(error) => {
                // What is on the disk now is read again before the next word is written.
                folder = None;
                status.failed(error.code(), error.to_string());
                let until = time::Instant::now() + pause;
                // What comes meanwhile is in the store.
                while let Ok(next) = time::timeout_at(until, from.recv()).await {
                    match next {
                        Some(message) => taken(&status, &message),
                        None => return,
                    }
                }
                pause = (pause * 2).min(RETRY.1);
                status.want();
            }
        }
    }
}

/// A message waits no more.
fn taken(status: &Status, message: &Message) {
    if let Message::Commit(commit) = message {
        status.taken(commit.bytes);
    }
}

/// Copies some messages; false when there was nothing that could be copied.
fn write(
    status: &Status,
    objects: &Arc<Objects>,
    folder: &mut Option<Folder>,
    messages: Vec<Message>,
) -> Result<bool, FolderError> {
    let since = std::time::Instant::now();
    let mut last = None;
    for message in messages {
        match message {
            Message::Whole(number, whole) => {
                // When its engine is gone, the next one hands in another.
                let Some(store) = whole.store.upgrade() else {
                    continue;
                };
                let open = match folder.take() {
                    Some(open) => open,
                    None => Folder::open(status.folder(), objects)?,
                };
                folder.insert(open).catch_up(&*store, &whole)?;
                last = Some((number, whole.epoch, whole.at));
            }
            Message::Commit(commit) => {
                // Without a folder the place is lost, and the whole store was asked for.
                if let Some(folder) = folder {
                    for entry in &commit.entries {
                        folder.entry(entry)?;
                    }
                    last = Some((commit.number, commit.epoch, commit.at));
                }
            }
        }
    }
    let (Some(folder), Some((number, epoch, at))) = (folder, last) else {
        return Ok(false);
    };
    folder.commit(epoch, at)?;
    status.copied(number, since, folder.copied());
    if folder.is_mostly_dead() {
        status.want();
    }
    Ok(true)
}
