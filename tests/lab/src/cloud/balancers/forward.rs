//! The TCP half of a classic load balancer: one listener, and the connections that came through it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::roster::{Backend, Roster};

/// How long a connection to an instance may take. AWS does not say; a client gives up later.
const CONNECT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what it fails for (no free descriptors) does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener of a load balancer. Dropped, or with `stop` cancelled, it takes no connections and ends those it has.
#[derive(Debug)]
pub(super) struct Listener {
    stop: CancellationToken,
}

impl Listener {
    /// Listens on the load balancer's address and port, and forwards to the same port of its instances.
    pub(super) async fn open(
        address: Ipv4Addr,
        (port, instance_port): (u16, u16),
        roster: Arc<Roster>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((address, port))).await?;
        tracker.spawn(accept(
            listener,
            instance_port,
            roster,
            tracker.clone(),
            stop.clone(),
        ));
        Ok(Self { stop })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    instance_port: u16,
    roster: Arc<Roster>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((client, _)) => {
                let roster = Arc::clone(&roster);
                let stop = stop.clone();
                tracker.spawn(async move {
                    // Dropping the connection closes both sides.
                    stop.run_until_cancelled(serve(client, instance_port, &roster))
                        .await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "load balancer cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One client's connection, to its end. Without an instance in service it is reset. A connection that the instance does
/// not take is closed, and not tried elsewhere: AWS's load balancer does neither.
async fn serve(client: TcpStream, instance_port: u16, roster: &Roster) {
    let Some(backend) = roster.pick() else {
        reset(&client);
        return;
    };
    // A client that has gone away is no news, and neither is an instance that has: health checks tell of it.
    let connection = connect_and_copy(client, instance_port, &backend);
    let _ended = backend.closing.run_until_cancelled(connection).await;
}

async fn connect_and_copy(
    mut client: TcpStream,
    instance_port: u16,
    backend: &Backend,
) -> io::Result<()> {
    let address = SocketAddr::from((backend.address, instance_port));
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let Ok(Ok(mut instance)) = connected else {
        reset(&client);
        return Ok(());
    };
    // Small writes must not wait for each other: etcd's and the API's latencies are measured through here.
    client.set_nodelay(true)?;
    instance.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut instance).await?;
    Ok(())
}

/// Makes the close that follows a reset. When even this fails the client sees an ordinary end.
fn reset(client: &TcpStream) {
    if let Err(error) = client.set_zero_linger() {
        tracing::debug!(%error, "cannot reset a connection");
    }
}
