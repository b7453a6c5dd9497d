//! What a customer notices: at 20 Hz one read and one write through each name of the API, and
//! through its service inside the cluster. Every other request goes over a new
//! connection, the rest over one that is kept as long as it lives, as clients do: HTTP/2, so that a server that ends in good
//! order can say so.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    endpoints::Addresses,
    tls::{self, Tls},
};

/// From one round to the next.
const PERIOD: Duration = Duration::from_millis(50);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the objects are that are read and written, `probe-0` and on: there from the beginning.
const OBJECTS: &str = "/api/v1/namespaces/default/configmaps/probe-";
/// Each writer's own objects, which it takes in turn: writes that are on their way at once never meet at one.
const OWN: u64 = 20;
/// How many there have to be: two names and the service, two kinds of connection.
pub(crate) const ALL: u64 = 6 * OWN;

/// Through which name, and as whom.
#[derive(Clone)]
pub(crate) struct Name {
    /// `old`, `new` or `in-cluster`.
    pub label: String,
    /// The name that the server is to have.
    pub host: String,
    /// Where it leads.
    pub way: Way,
    /// Whom it trusts and who it is.
    pub tls: Tls,
}

/// Where a new connection goes.
#[derive(Clone)]
pub(crate) enum Way {
    /// To where its name leads, looked up for every connection, as clients do.
    Lookup,
    /// To the service's endpoints in turn, as the nodes of a cluster send it there; what is open stays open.
    Endpoints(Addresses),
}

/// What was seen through one name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The slowest that succeeded, milliseconds.
    pub slowest_ms: f64,
    /// When that one was sent, seconds after the prober's begin.
    pub slowest_at: f64,
    /// Half of the successful requests were quicker, milliseconds.
    pub median_ms: f64,
    /// 99 of 100 were quicker, milliseconds.
    pub p99_ms: f64,
    /// From the first failed request to the first successful one after it, seconds; of every such gap.
    pub gaps: Vec<Gap>,
}

impl Seen {
    /// Notes where a gap ended. One that follows the last one within a second is the same trouble.
    fn close(&mut self, gap: Gap, until: f64) {
        match self.gaps.last_mut() {
            Some(last) if gap.from - last.until < 1.0 => {
                last.until = until;
                last.failed += gap.failed;
            }
            _ => self.gaps.push(Gap { until, ..gap }),
        }
    }
}

/// A stretch in which requests failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Gap {
    /// Seconds after the prober's begin.
    pub from: f64,
    /// Seconds after the prober's begin.
    pub until: f64,
    /// Failed requests in it.
    pub failed: u64,
    /// What the first of them said.
    pub first: String,
}

/// One request that was made.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    at: f64,
    name: String,
    verb: &'static str,
    connection: &'static str,
    ms: f64,
    failure: Option<String>,
}

/// A prober that runs.
pub(crate) struct Prober {
    stop: CancellationToken,
    tasks: TaskTracker,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Prober {
    /// Begins to probe through these names.
    pub(crate) fn begin(names: Vec<Name>) -> Self {
        let prober = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            samples: Arc::default(),
        };
        let begin = Instant::now();
        for name in names {
            for connection in ["new", "kept"] {
                let probe = Probe {
                    name: name.clone(),
                    connection,
                    begin,
                    samples: Arc::clone(&prober.samples),
                    written: Arc::new(AtomicU64::new(0)),
                    turn: Arc::default(),
                };
                prober
                    .tasks
                    .spawn(probe.run(prober.stop.clone(), prober.tasks.clone()));
            }
        }
        prober
    }

    /// Ends it and answers what was seen, by name; what failed or took long goes to `file`, a line each.
    pub(crate) async fn end(self, file: PathBuf) -> anyhow::Result<BTreeMap<String, Seen>> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let mut samples =
            std::mem::take(&mut *self.samples.lock().expect("nobody panics with the lock"));
        samples.sort_by(|a, b| a.at.total_cmp(&b.at));
        let lines: String = samples
            .iter()
            .filter(|sample| sample.failure.is_some() || sample.ms >= 250.0)
            .filter_map(|sample| Some(serde_json::to_string(sample).ok()? + "\n"))
            .collect();
        std::fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        Ok(summary(&samples))
    }
}

/// Whether a read through a name succeeds now.
pub(crate) async fn answers(name: &Name) -> bool {
    let probe = Probe {
        name: name.clone(),
        connection: "new",
        begin: Instant::now(),
        samples: Arc::default(),
        written: Arc::default(),
        turn: Arc::default(),
    };
    probe.once("read", None).await.is_some()
}

struct Probe {
    name: Name,
    connection: &'static str,
    begin: Instant,
    samples: Arc<Mutex<Vec<Sample>>>,
    written: Arc<AtomicU64>,
    /// Whose turn it is among the service's endpoints.
    turn: Arc<AtomicUsize>,
}

type Connection = SendRequest<Full<Bytes>>;

impl Probe {
    /// Two of these make 20 Hz.
    async fn run(self, stop: CancellationToken, tasks: TaskTracker) {
        let probe = Arc::new(self);
        let mut ticks = tokio::time::interval(PERIOD * 2);
        if probe.connection == "new" {
            // The two take turns.
            tokio::time::sleep(PERIOD).await;
        }
        let mut kept: [Option<Connection>; 2] = [None, None];
        loop {
            // Both arms are cancel-safe.
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            if probe.connection == "new" {
                for verb in ["read", "write"] {
                    let probe = Arc::clone(&probe);
                    // A slow request does not hold up the next one.
                    tasks.spawn(async move { probe.once(verb, None).await });
                }
            } else {
                let [reading, writing] = &mut kept;
                let (read, write) = tokio::join!(
                    probe.once("read", reading.take()),
                    probe.once("write", writing.take()),
                );
                kept = [read, write];
            }
        }
    }

    async fn once(&self, verb: &'static str, kept: Option<Connection>) -> Option<Connection> {
        let sent = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.request(verb, kept)).await;
        let (failure, connection) = match answer {
            Ok(Ok(connection)) => (None, Some(connection)),
            Ok(Err(error)) => (Some(format!("{error:#}")), None),
            Err(_) => (
                Some(format!("no answer within {} s", PATIENCE.as_secs())),
                None,
            ),
        };
        let sample = Sample {
            at: (sent - self.begin).as_secs_f64(),
            name: self.name.label.clone(),
            verb,
            connection: self.connection,
            ms: sent.elapsed().as_secs_f64() * 1000.0,
            failure,
        };
        self.samples
            .lock()
            .expect("nobody panics with the lock")
            .push(sample);
        connection
    }

    async fn request(&self, verb: &str, kept: Option<Connection>) -> anyhow::Result<Connection> {
        // One that the other side has closed meanwhile is no failure: clients then make a new one.
        let alive = match kept {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut connection = match alive {
            Some(alive) => alive,
            None => self.connect().await?,
        };
        let n = self.written.fetch_add(1, Ordering::Relaxed);
        let object = self.first_object() + n % OWN;
        let request =
            Request::builder().uri(format!("https://{}{OBJECTS}{object}", self.name.host));
        let request = if verb == "read" {
            request.method("GET").body(Full::default())?
        } else {
            let body = format!(r#"{{"data":{{"n":"{n}"}}}}"#);
            request
                .method("PATCH")
                .header("Content-Type", "application/merge-patch+json")
                .body(Full::from(body))?
        };
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            bail!("{status}: {}", text.chars().take(200).collect::<String>());
        }
        Ok(connection)
    }

    fn first_object(&self) -> u64 {
        let name = match self.name.label.as_str() {
            "old" => 0,
            "new" => 1,
            _ => 2,
        };
        let connection = u64::from(self.connection == "new");
        (name * 2 + connection) * OWN
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let to = match &self.name.way {
            Way::Lookup => {
                let mut found = tokio::net::lookup_host((self.name.host.as_str(), 443)).await?;
                found.next().context("no address")?
            }
            Way::Endpoints(addresses) => {
                let addresses = addresses.borrow();
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let chosen = turn.checked_rem(addresses.len()).map(|n| addresses[n]);
                chosen.context("the service has no endpoint")?
            }
        };
        let stream = tls::connect(&self.name.tls, to, &self.name.host)
            .await
            .with_context(|| format!("to {to}"))?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It lives as long as its sender; what ends it is seen there.
        TaskTracker::new().spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

fn summary(samples: &[Sample]) -> BTreeMap<String, Seen> {
    let mut by_name: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_name.entry(sample.name.clone()).or_default().push(sample);
    }
    by_name
        .into_iter()
        .map(|(name, samples)| (name, seen(&samples)))
        .collect()
}

fn seen(samples: &[&Sample]) -> Seen {
    let mut seen = Seen::default();
    let mut quick: Vec<f64> = Vec::new();
    let mut gap: Option<Gap> = None;
    for sample in samples {
        seen.requests += 1;
        match &sample.failure {
            Some(failure) => {
                seen.failed += 1;
                let gap = gap.get_or_insert_with(|| Gap {
                    from: sample.at,
                    until: sample.at,
                    failed: 0,
                    first: failure.clone(),
                });
                gap.failed += 1;
            }
            None => {
                if sample.ms > seen.slowest_ms {
                    seen.slowest_ms = sample.ms;
                    seen.slowest_at = sample.at;
                }
                quick.push(sample.ms);
                if let Some(gap) = gap.take() {
                    seen.close(gap, sample.at);
                }
            }
        }
    }
    if let (Some(gap), Some(last)) = (gap, samples.last()) {
        seen.close(gap, last.at);
    }
    quick.sort_by(f64::total_cmp);
    let share = |of: usize| {
        quick
            .get(quick.len() * of / 100)
            .copied()
            .unwrap_or_default()
    };
    (seen.median_ms, seen.p99_ms) = (share(50), share(99));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, failure: Option<&str>) -> Sample {
        Sample {
            at,
            name: "old".to_owned(),
            verb: "read",
            connection: "new",
            ms: 10.0 * at,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn a_gap_lasts_until_the_next_success() {
        let samples = [
            sample(1.0, None),
            sample(2.0, Some("reset")),
            sample(3.0, Some("refused")),
            sample(4.0, None),
            sample(5.0, Some("late")),
        ];
        let seen = &summary(&samples)["old"];
        assert_eq!((seen.requests, seen.failed), (5, 3));
        assert_eq!(
            (seen.gaps[0].from, seen.gaps[0].until, seen.gaps[0].failed),
            (2.0, 4.0, 2)
        );
        assert_eq!(seen.gaps[0].first, "reset");
        assert_eq!(seen.gaps[1].failed, 1);
        assert_eq!((seen.slowest_ms, seen.slowest_at), (40.0, 4.0));
    }
}
