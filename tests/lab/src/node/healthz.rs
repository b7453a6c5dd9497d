//! `k8s-api-healthz`, the endpoint that the vintage load balancers ask: port 8089, `/healthz`. As the real one (image
//! `giantswarm/k8s-api-healthz` 0.2.0), it is content with any completed HTTP exchange: no status code is looked at.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::tls::{self, Tls};

/// Flags of the image.
#[derive(Debug, Args)]
pub(crate) struct HealthzArgs {
    /// Client certificate for etcd
    #[arg(long)]
    etcd_cert: PathBuf,
    /// Its key
    #[arg(long)]
    etcd_key: PathBuf,
    /// etcd's CA
    #[arg(long)]
    etcd_ca_cert: PathBuf,
}

/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until it is killed.
pub(crate) async fn serve(args: &HealthzArgs) -> anyhow::Result<()> {
    let identity = (
        std::fs::read_to_string(&args.etcd_cert)?,
        std::fs::read_to_string(&args.etcd_key)?,
    );
    let api = Tls::trusting_anybody(None)?;
    let etcd = Tls::trusting_anybody(Some((&identity.0, &identity.1)))?;
    drop(std::fs::read_to_string(&args.etcd_ca_cert)?);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8089)).await?;
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let (api, etcd) = (api.clone(), etcd.clone());
        tasks.spawn(async move {
            let healthy =
                exchange(&api, 443, "/healthz").await && exchange(&etcd, 2379, "/health").await;
            drop(answer(stream, healthy).await);
        });
    }
}

async fn answer(mut stream: TcpStream, healthy: bool) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    let text: &[u8] = if healthy {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    } else {
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    };
    stream.write_all(text).await?;
    stream.shutdown().await
}

/// True when any HTTP answer comes back.
async fn exchange(tls: &Tls, port: u16, path: &str) -> bool {
    let exchange = async {
        let mut stream = tls::connect(tls, (Ipv4Addr::LOCALHOST, port).into(), "localhost").await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).await?;
        anyhow::Ok(&begin == b"HTTP/")
    };
    matches!(timeout(PATIENCE, exchange).await, Ok(Ok(true)))
}
