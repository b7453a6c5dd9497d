//! What runs inside of a server process.

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use clap::Args;
use drover_coordinator::{
    clock::SystemClock,
    program::{self, Settings},
    server::Server,
};
use drover_process::log::Log;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What a server says on stdout, as one line of JSON, once it takes requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// gRPC.
    pub(crate) listen: SocketAddr,
    /// `/metrics`.
    pub(crate) http: SocketAddr,
}

impl Ready {
    pub(crate) fn say(&self) {
        let line = serde_json::to_string(self).expect("addresses serialize");
        let mut out = io::stdout();
        // Nobody may be listening any more.
        drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    }
}

/// Ends when stdin is closed: a server does not outlive whoever began it.
pub(crate) fn stdin_closed() -> impl Future<Output = ()> {
    let closed = CancellationToken::new();
    let tell = closed.clone();
    // A thread of its own: the runtime would wait for a read that nobody can interrupt.
    std::thread::spawn(move || {
        // Whatever is said is of no interest; an error is as final as the end.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        tell.cancel();
    });
    closed.cancelled_owned()
}

/// The settings of the real coordinator, with its own defaults.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    #[command(flatten)]
    settings: Settings,
}

/// The real coordinator, as its own program runs it.
pub(crate) async fn coordinator(args: CoordinatorArgs) -> anyhow::Result<()> {
    Log::begin(&args.settings.log)?;
    let config = args.settings.check()?;
    let ready = |server: &Server| {
        Ready {
            listen: server.address,
            http: server.http.unwrap_or(server.address),
        }
        .say();
    };
    program::run(config, Arc::new(SystemClock), ready, stdin_closed()).await
}
