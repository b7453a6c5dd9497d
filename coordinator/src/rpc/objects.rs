//! Objects on the wire: parts that come in on a session, and texts that go out.

use std::sync::Arc;

use drover_core::{ids::Digest, object::ObjectRef};
use drover_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Shared, to_wire};
use crate::{
    engine::messages::Input,
    objects::Objects,
    refusal::{Kind, Refusal},
};

/// Parts that a session may send before the first reply. More breaks the protocol.
pub(super) const PARTS_UNANSWERED: usize = 4;

/// The largest part, in bytes.
const PART_BYTES_MAX: usize = 256 << 10;

/// Parts of a text that may wait for a slow reader.
const QUEUE: usize = 4;

/// A part that came in.
pub(super) struct Part {
    pub(super) object: ObjectRef,
    offset: u64,
    data: Vec<u8>,
}

pub(super) fn read_part(part: v1::UploadPart) -> Result<Part, Refusal> {
    if part.data.len() > PART_BYTES_MAX {
        return Err(Refusal::new(
            Kind::Invalid,
            "protocol",
            format!(
                "a part of an object has {} bytes; at most {PART_BYTES_MAX} are allowed",
                part.data.len()
            ),
        ));
    }
    Ok(Part {
        object: read_ref(part.object.as_ref())?,
        offset: part.offset,
        data: part.data,
    })
}

pub(super) fn read_ref(object: Option<&v1::ObjectRef>) -> Result<ObjectRef, Refusal> {
    let refusal = |what| Refusal::new(Kind::Invalid, "protocol", what);
    let object = object.ok_or_else(|| refusal("an object is not named"))?;
    let digest = Digest::parse(&object.digest)
        .ok_or_else(|| refusal("the digest of an object is 64 hex digits"))?;
    Ok(ObjectRef {
        digest,
        size: object.size,
    })
}

pub(super) fn object_ref(object: &ObjectRef) -> v1::ObjectRef {
    v1::ObjectRef {
        digest: object.digest.to_string(),
        size: object.size,
    }
}

/// How far an object is.
pub(super) fn reply(object: &ObjectRef, stored: u64) -> v1::UploadReply {
    v1::UploadReply {
        object: Some(object_ref(object)),
        stored,
        failure: None,
    }
}

/// Stores one part; what to say about it.
pub(super) async fn store(objects: &Arc<Objects>, part: Part) -> v1::UploadReply {
    let (objects, object) = (Arc::clone(objects), part.object);
    let stored = tokio::task::spawn_blocking(move || {
        let taken = objects.append(&part.object, part.offset, &part.data);
        (taken, objects.stored(&part.object))
    });
    match stored.await {
        Ok((Ok(stored), _)) => reply(&object, stored),
        Ok((Err(refusal), stored)) => {
            tracing::error!(object = %object.digest, code = refusal.code, "a part of an output is refused: {refusal}");
            let certainty = match refusal.kind {
                Kind::Unavailable => v1::Certainty::Transient,
                Kind::Invalid | Kind::NotFound | Kind::Refused => v1::Certainty::Failed,
            };
            v1::UploadReply {
                failure: Some(v1::Failure {
                    code: refusal.code.to_owned(),
                    certainty: certainty.into(),
                    message: refusal.message,
                    attempt: 0,
                    retry_after: None,
                }),
                ..reply(&object, stored)
            }
        }
        // It panicked, and has said so; the worker asks again.
        Err(_) => reply(&object, 0),
    }
}

type Parts = ReceiverStream<Result<v1::ObjectPart, Status>>;

/// The text of an object, in parts.
pub(super) async fn send_object(shared: &Shared, object: ObjectRef) -> Result<Parts, Status> {
    let objects = Arc::clone(&shared.objects);
    let text = tokio::task::spawn_blocking(move || objects.read(&object))
        .await
        .map_err(|_| Status::internal("reading the object panicked"))??;
    Ok(send(shared, text))
}

/// A step's output as JSON text, wherever it lies.
pub(super) async fn send_output(
    shared: &Shared,
    request: v1::ReadOutputRequest,
) -> Result<Parts, Status> {
    let id = super::id("workflow", &request.id)?;
    let workflow = shared
        .engine
        .ask(|answer| Input::Describe { id, answer })
        .await?;
    let step = workflow
        .steps
        .iter()
        .chain(&workflow.guards)
        .find(|step| step.id == request.step)
        .ok_or_else(|| Refusal::not_found("step", &request.step))?;
    match (&step.output, step.output_object) {
        (_, Some(object)) => send_object(shared, object).await,
        (Some(output), None) => Ok(send(shared, to_wire::json(output).text)),
        (None, None) => Err(Refusal::new(
            Kind::Refused,
            "no-output",
            format!("{:?} is {} and has no output", request.step, step.state),
        )
        .into()),
    }
}

fn send(shared: &Shared, text: Vec<u8>) -> Parts {
    let (to, parts) = mpsc::channel(QUEUE);
    shared.tasks.spawn(async move {
        for data in text.chunks(PART_BYTES_MAX) {
            let data = data.to_vec();
            if to.send(Ok(v1::ObjectPart { data })).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(parts)
}
