//! A forwarded port as a byte stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

type Failure = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The stream, and what moves its bytes: dropped together.
pub(crate) struct Forwarded {
    stream: DuplexStream,
    forwarder: Portforwarder,
    failure: Option<Failure>,
}

impl Forwarded {
    /// Takes the stream of `port` out of a forwarder; `None` when it forwards another port.
    pub(crate) fn new(mut forwarder: Portforwarder, port: u16) -> Option<Self> {
        let stream = forwarder.take_stream(port)?;
        let failure = forwarder
            .take_error(port)
            .map(|failure| Box::pin(failure) as Failure);
        Some(Self {
            stream,
            forwarder,
            failure,
        })
    }

    /// Why the stream has ended, when the node has said so.
    fn told(&mut self, cx: &mut Context<'_>) -> Option<String> {
        let mut failure = self.failure.take()?;
        match failure.as_mut().poll(cx) {
            Poll::Ready(why) => why,
            Poll::Pending => None,
        }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // It would go on for as long as the API keeps the connection.
        self.forwarder.abort();
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        match ended.then(|| self.told(cx)).flatten() {
            Some(why) => Poll::Ready(Err(io::Error::other(why))),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
