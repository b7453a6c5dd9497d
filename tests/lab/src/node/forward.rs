//! The redirects of a Cluster API node: CAPA's load balancer sends to 6443, the API server listens on 443. The rule says
//! which port goes to which, so that an order may have it the other way round.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::spec::{NodeSpec, RUN};

/// Between two looks at the rule and at the port that it leads to.
const LOOK: Duration = Duration::from_millis(200);

/// Carries the node's redirects out: what arrives from elsewhere, and what the node asks of itself. Never ends.
pub(crate) async fn redirects(spec: NodeSpec) {
    tokio::join!(
        redirect(&spec, "PREROUTING", spec.address),
        redirect(&spec, "OUTPUT", Ipv4Addr::LOCALHOST),
    );
}

/// Carries one out from when a rule asks for it. Whoever comes while nobody listens behind it is refused, as the kernel's
/// redirect would have it: a load balancer's check must not take the redirect for an API server.
async fn redirect(spec: &NodeSpec, chain: &str, address: Ipv4Addr) {
    let rule = spec.inside(RUN).join(format!("redirect-{chain}"));
    let streams = TaskTracker::new();
    let mut listener: Option<TcpListener> = None;
    loop {
        let ports = fs::read_to_string(&rule).ok().as_deref().and_then(ports);
        let Some((from, to)) = ports else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let to = SocketAddrV4::new(address, to);
        if TcpStream::connect(to).await.is_ok() {
            if listener.is_none() {
                listener = TcpListener::bind((address, from)).await.ok();
            }
        } else {
            listener = None;
        }
        let Some(open) = &listener else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        // Nobody came for a while: time for another look at the port behind. Accepting is cancel-safe.
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

/// `FROM TO`.
fn ports(rule: &str) -> Option<(u16, u16)> {
    let (from, to) = rule.trim().split_once(' ')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}
