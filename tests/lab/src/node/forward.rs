//! The redirect of a Cluster API node: CAPA's load balancer sends to 6443, the API server listens on 443.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::spec::{NodeSpec, RUN};

/// Between two looks at the rule and at 443.
const LOOK: Duration = Duration::from_millis(200);

/// Carries the redirect out from when a rule asks for it. Whoever comes while nobody listens on 443 is refused, as the
/// kernel's redirect would have it: a load balancer's check must not take the redirect for an API server. Never ends.
pub(crate) async fn redirect(spec: NodeSpec) {
    let rule = spec.inside(RUN).join("redirect-6443");
    let to = (spec.address, 443);
    let streams = TaskTracker::new();
    let mut listener: Option<TcpListener> = None;
    loop {
        if rule.exists() && TcpStream::connect(to).await.is_ok() {
            if listener.is_none() {
                listener = TcpListener::bind((spec.address, 6443)).await.ok();
            }
        } else {
            listener = None;
        }
        let Some(open) = &listener else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        // Nobody came for a while: time for another look at 443. Accepting is cancel-safe.
        let Ok(Ok((mut from, _))) = tokio::time::timeout(LOOK, open.accept()).await else {
            continue;
        };
        streams.spawn(async move {
            // Nobody listens any more: the stream ends, as a reset would end it.
            if let Ok(mut to) = TcpStream::connect(to).await {
                to.set_nodelay(true).ok();
                from.set_nodelay(true).ok();
                drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
            }
        });
    }
}
