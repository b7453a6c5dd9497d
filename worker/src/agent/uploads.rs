//! Outputs that are too large for a frame: uploaded in parts before the result that names them.
//!
//! One at a time. The first part of each is empty: the reply says how much is there already. At most [`PARTS_UNANSWERED`]
//! parts are on the way, so that beats and commands never wait behind 64 MiB. The text stays in the spool; a stream that
//! ends costs the parts on the way and no more.

use std::{collections::VecDeque, time::Duration};

use drover_proto::v1;

use super::{Agent, Input, OBJECT_PROTOCOL, links::Link, wire};
use crate::{
    execute,
    spool::{AttemptKey, ObjectName, Outcome, SpoolError},
};

/// Parts that may be on the way. The protocol's number.
const PARTS_UNANSWERED: u32 = 4;

/// The bytes of a part.
const PART_BYTES: u64 = 256 << 10;

/// Before an upload that was refused for the time being is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Large outputs that the coordinator does not have yet.
#[derive(Default)]
pub(super) struct Uploads {
    waiting: VecDeque<(AttemptKey, Outcome)>,
    current: Option<Upload>,
    /// Refused for the time being.
    resting: bool,
}

struct Upload {
    key: AttemptKey,
    outcome: Outcome,
    object: ObjectName,
    /// Bytes that the coordinator has.
    stored: u64,
    /// Where the next part begins.
    next: u64,
    unanswered: u32,
}

impl<P: Send + Sync + 'static> Agent<P> {
    /// A stream begins: everything is asked for anew.
    pub(super) fn forget_uploads(&mut self) {
        self.uploads = Uploads::default();
    }

    /// Sends a result, after its output when that is large.
    pub(super) fn send_result(
        &mut self,
        key: AttemptKey,
        outcome: Outcome,
    ) -> Result<(), SpoolError> {
        let Outcome::Object { object, .. } = &outcome else {
            let result = execute::to_wire(wire(&key), &outcome);
            self.pending.results.push(result);
            return Ok(());
        };
        let Some(protocol) = self.link.as_ref().and_then(|link| link.protocol) else {
            // The welcome asks for everything that is not acked.
            return Ok(());
        };
        if protocol < OBJECT_PROTOCOL {
            let refused = execute::too_large(object.size, execute::INLINE_BYTES_MAX);
            return self.give_up(key, refused);
        }
        self.uploads.waiting.push_back((key, outcome));
        self.next_upload()
    }

    /// The coordinator will never take the output: the attempt has failed.
    fn give_up(&mut self, key: AttemptKey, refused: Outcome) -> Result<(), SpoolError> {
        self.spool.put(key.clone(), refused.clone())?;
        let result = execute::to_wire(wire(&key), &refused);
        self.pending.results.push(result);
        Ok(())
    }

    /// Begins the next upload, when none is under way.
    pub(super) fn next_upload(&mut self) -> Result<(), SpoolError> {
        self.uploads.resting = false;
        if self.uploads.current.is_some() || self.link.as_ref().and_then(Link::welcomed).is_none() {
            return Ok(());
        }
        while let Some((key, outcome)) = self.uploads.waiting.pop_front() {
            if let Outcome::Object { object, .. } = &outcome {
                let object = object.clone();
                self.pending.upload_parts.push(part(&object, 0, Vec::new()));
                self.uploads.current = Some(Upload {
                    key,
                    outcome,
                    object,
                    stored: 0,
                    next: 0,
                    unanswered: 1,
                });
                break;
            }
        }
        Ok(())
    }

    /// The coordinator says how far an object is.
    pub(super) fn upload_replied(&mut self, reply: v1::UploadReply) -> Result<(), SpoolError> {
        let object = reply.object.unwrap_or_default();
        let is_current = |upload: &&mut Upload| upload.object.digest == object.digest;
        let Some(upload) = self.uploads.current.as_mut().filter(is_current) else {
            return self.upload_missing(&object);
        };
        upload.unanswered = upload.unanswered.saturating_sub(1);
        if let Some(failure) = reply.failure {
            let upload = self.uploads.current.take().expect("it was found above");
            return self.upload_refused(upload, failure);
        }
        upload.stored = reply.stored;
        if upload.stored >= upload.object.size {
            let upload = self.uploads.current.take().expect("it was found above");
            let result = execute::to_wire(wire(&upload.key), &upload.outcome);
            self.pending.results.push(result);
            return self.next_upload();
        }
        upload.next = upload.next.max(upload.stored);
        if upload.unanswered == 0 {
            // Parts that were not taken begin again where the coordinator is.
            upload.next = upload.stored;
        }
        while upload.unanswered < PARTS_UNANSWERED && upload.next < upload.object.size {
            let data = self
                .spool
                .read_object(&upload.object, upload.next, PART_BYTES)?;
            let offset = upload.next;
            upload.next += data.len() as u64;
            upload.unanswered += 1;
            self.pending
                .upload_parts
                .push(part(&upload.object, offset, data));
        }
        Ok(())
    }

    /// A result named an object that the coordinator does not have any more.
    fn upload_missing(&mut self, object: &v1::ObjectRef) -> Result<(), SpoolError> {
        let named = |outcome: &Outcome| matches!(outcome, Outcome::Object { object: name, .. } if name.digest == object.digest);
        let found = self
            .spool
            .unacked()
            .iter()
            .find(|(_, outcome)| named(outcome))
            .map(|(key, outcome)| (key.clone(), outcome.clone()));
        match found {
            Some((key, outcome)) => self.send_result(key, outcome),
            None => Ok(()),
        }
    }

    fn upload_refused(&mut self, upload: Upload, failure: v1::Failure) -> Result<(), SpoolError> {
        let (key, size) = (&upload.key, upload.object.size);
        if failure.certainty() == v1::Certainty::Transient {
            tracing::error!(
                workflow = key.workflow,
                step = key.step,
                size,
                code = failure.code,
                "an output waits in the spool: {}",
                failure.message
            );
            self.uploads
                .waiting
                .push_front((upload.key, upload.outcome));
            if !self.uploads.resting {
                self.uploads.resting = true;
                let inputs = self.inputs.clone();
                self.helpers.spawn(async move {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    drop(inputs.send(Input::UploadAgain));
                });
            }
            return Ok(());
        }
        let refused = execute::refused(&failure.code, failure.message);
        self.give_up(upload.key, refused)?;
        self.next_upload()
    }
}

fn part(object: &ObjectName, offset: u64, data: Vec<u8>) -> v1::UploadPart {
    v1::UploadPart {
        object: Some(v1::ObjectRef {
            digest: object.digest.clone(),
            size: object.size,
        }),
        offset,
        data,
    }
}
