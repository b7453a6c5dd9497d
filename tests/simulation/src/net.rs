//! gRPC over the simulated network.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use drover_worker::surroundings::Dial;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Error, Uri, server::Connected};
use turmoil::net::{TcpListener, TcpStream};

/// Where the coordinator listens.
pub(crate) const COORDINATOR: &str = "coordinator";

/// Its port.
pub(crate) const PORT: u16 = 7000;

/// Its address.
pub(crate) fn coordinator() -> Uri {
    format!("http://{COORDINATOR}:{PORT}")
        .parse()
        .expect("it is an address")
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

fn connector()
-> impl tower::Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future = Connecting>
+ Send
+ 'static {
    tower::service_fn(|uri: Uri| -> Connecting {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let port = uri.port_u16().unwrap_or(PORT);
            Ok(TokioIo::new(
                TcpStream::connect((host.as_str(), port)).await?,
            ))
        })
    })
}

/// Dials over the simulated network.
pub(crate) struct Dialer;

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, endpoint: Endpoint) -> Result<Channel, Error> {
        endpoint.connect_with_connector(connector()).await
    }
}

/// A channel that connects when it is used, and again when it broke.
pub(crate) fn channel(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(connector())
}

/// An accepted connection.
pub(crate) struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connections of a listener, as tonic wants them.
pub(crate) async fn incoming() -> io::Result<ReceiverStream<io::Result<Accepted>>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let (to, accepted) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if to.send(Ok(Accepted(stream))).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(accepted))
}
