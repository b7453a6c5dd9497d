//! Starts one migration and follows it to its end, however often the coordinator dies meanwhile.

use std::time::Duration;

use drover_core::view;
use drover_proto::v1;
use tokio::sync::mpsc;
use tonic::Code;

use super::roster::Member;
use crate::{
    client::{Client, within},
    convert,
    failure::{Exit, Failure, Outcome},
};

/// Real time until the coordinator is asked again after it was away.
const AWAY: Duration = Duration::from_millis(200);

const REQUEST: Duration = Duration::from_secs(30);

/// What is known of a migration.
#[derive(Debug)]
pub(super) enum News {
    /// The coordinator refused to start it.
    NotStarted(String, Failure),
    /// How it is now.
    Seen(Box<view::Workflow>),
}

/// Starts and follows it. Ends when the migration has, or nobody listens any more.
pub(super) async fn follow(mut client: Client, member: Member, tell: mpsc::Sender<News>) {
    let id = member.id.clone();
    // The same start again is answered with the workflow that runs.
    while let Err(failure) = start(&mut client, &member).await {
        if failure.exit != Exit::Unreachable {
            // Nobody listens once the fleet has ended.
            drop(tell.send(News::NotStarted(id, failure)).await);
            return;
        }
        tokio::time::sleep(AWAY).await;
    }
    while !watch(&mut client, &id, &tell).await {
        tokio::time::sleep(AWAY).await;
    }
}

async fn start(client: &mut Client, member: &Member) -> Outcome {
    let request = v1::StartWorkflowRequest {
        id: member.id.clone(),
        definition: "aws-live-migration".to_owned(),
        input: Some(v1::Json {
            text: serde_json::to_vec(&member.input).expect("JSON values serialize"),
        }),
        reason: "demo".to_owned(),
        ..v1::StartWorkflowRequest::default()
    };
    let answer = client
        .workflows
        .start_workflow(within(request, REQUEST))
        .await;
    match answer {
        Ok(_) => Ok(()),
        // The connection broke while it was asked.
        Err(status) if matches!(status.code(), Code::Unknown | Code::Cancelled) => {
            Err(Failure::new(Exit::Unreachable, status.message().to_owned()))
        }
        Err(status) => Err(status.into()),
    }
}

/// True when there is nothing more to see.
async fn watch(client: &mut Client, id: &str, tell: &mpsc::Sender<News>) -> bool {
    let request = v1::WatchWorkflowRequest { id: id.to_owned() };
    let Ok(stream) = client.workflows.watch_workflow(request).await else {
        return tell.is_closed();
    };
    let mut stream = stream.into_inner();
    // An error is a coordinator that has gone away.
    while let Ok(Some(message)) = stream.message().await {
        let workflow = convert::workflow(message);
        let ended = workflow.state.is_ended();
        let told = tell.send(News::Seen(Box::new(workflow))).await;
        if ended || told.is_err() {
            return true;
        }
    }
    false
}
