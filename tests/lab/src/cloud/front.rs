//! What stands in front of moto: every AWS client of the lab speaks to this.
//!
//! It passes everything on as it came, except where moto differs from AWS in what a migration relies on:
//!
//! * registering instances is refused as AWS refuses it, and idempotent ([`membership`]);
//! * the health of registered instances is what the load balancers of the lab found, not what moto supposes;
//! * private DNS names carry the region;
//! * bucket policies are taken and not kept.
//!
//! It is also where [`Faults`] strike, and it keeps a log of all requests. Calls for another region than its own are passed
//! on untouched, apart from faults.

mod answer;
mod log;
mod membership;
mod request;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use drover_model::Partition;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, body::Incoming, header,
    server::conn::http1, service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{answer::Refusal, log::RequestLog, request::Call};
use super::{
    balancers::View,
    faults::{Effect, Faults},
    sdk::Clients,
    seen,
};

type Answer = Response<Bytes>;

/// Pause after a failed accept: what it fails for does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The front of one region.
pub(super) struct Front {
    moto: SocketAddr,
    region: String,
    http: Client<HttpConnector, Full<Bytes>>,
    /// Clients of moto itself.
    clients: Clients,
    view: View,
    faults: Faults,
    wake: Arc<Notify>,
    log: RequestLog,
    /// Held while a registration is compared with what moto has and passed on: two at once would register one twice.
    registering: tokio::sync::Mutex<()>,
}

/// What a request came to.
enum Outcome {
    Answered(Answer),
    /// The connection closes without an answer.
    Lost,
}

impl Front {
    /// A front before moto's address. `wake` is notified after changes; `log` is the file for requests.
    pub(super) fn new(
        moto: SocketAddr,
        region: &str,
        clients: Clients,
        view: View,
        faults: Faults,
        wake: Arc<Notify>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            moto,
            region: region.to_owned(),
            http: Client::builder(TokioExecutor::new()).build_http(),
            clients,
            view,
            faults,
            wake,
            log: RequestLog::open(log)?,
            registering: tokio::sync::Mutex::default(),
        })
    }

    /// Serves until `stop`, which also ends open connections.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) {
        let front = Arc::new(self);
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let connection = Arc::clone(&front).connection(stream);
                    let stop = stop.clone();
                    tracker.spawn(async move { stop.run_until_cancelled(connection).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "the cloud's front cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let serve = service_fn(|request| {
            let front = Arc::clone(&self);
            async move { front.handle(request).await }
        });
        let served = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), serve)
            .await;
        if let Err(error) = served {
            // Clients hang up, and lost replies end here too.
            tracing::debug!(%error, "a connection to the cloud's front ended");
        }
    }

    /// One request. An error makes hyper close the connection without an answer.
    async fn handle(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let call = Call::parse(&head.method, &head.uri, &head.headers, &body);
        let request = Request::from_parts(head, body);
        let outcome = self.outcome(&call, request).await;
        let status = match &outcome {
            Ok(Outcome::Answered(answer)) => Some(answer.status().as_u16()),
            Ok(Outcome::Lost) | Err(_) => None,
        };
        self.log.write(&call, status, begun.elapsed());
        match outcome? {
            Outcome::Answered(answer) => Ok(answer.map(Full::new)),
            Outcome::Lost => anyhow::bail!("the reply to {} is lost", call.action),
        }
    }

    async fn outcome(&self, call: &Call, request: Request<Bytes>) -> anyhow::Result<Outcome> {
        let effects = self.faults.strike(&call.service, &call.action);
        for effect in &effects {
            if let Effect::Latency(time) = effect {
                sleep(*time).await;
            }
        }
        let refused = |effect: &Effect| Refusal::of_fault(*effect, &call.service);
        if let Some(refusal) = effects.iter().find_map(refused) {
            let answer = refusal.answer(call, request.headers());
            return Ok(Outcome::Answered(answer));
        }
        let answer = self.answer(call, request).await?;
        if answer.status().is_success() && call.changes_traffic() {
            self.wake.notify_one();
        }
        Ok(match effects.contains(&Effect::LostReply) {
            true => Outcome::Lost,
            false => Outcome::Answered(answer),
        })
    }

    async fn answer(&self, call: &Call, request: Request<Bytes>) -> anyhow::Result<Answer> {
        if call.region != self.region {
            return self.pass(request).await;
        }
        match (&*call.service, &*call.action) {
            (
                "elasticloadbalancing",
                "RegisterInstancesWithLoadBalancer"
                | "DeregisterInstancesFromLoadBalancer"
                | "DescribeInstanceHealth",
            ) => self.membership(call, request).await,
            ("ec2", _) => {
                let answer = self.pass(request).await?;
                Ok(answer.map(|body| self.with_regional_names(body)))
            }
            // moto would hold requests against the policy and pass over its conditions: CAPA's "only by TLS" then denies all.
            ("s3", "PUT") if is_policy(request.uri()) => Ok(Response::builder()
                .status(StatusCode::NO_CONTENT)
                .body(Bytes::new())?),
            _ => self.pass(request).await,
        }
    }

    /// The three calls about a load balancer's instances.
    async fn membership(&self, call: &Call, request: Request<Bytes>) -> anyhow::Result<Answer> {
        let name = call.parameter("LoadBalancerName").unwrap_or_default();
        let asked = call.instances();
        let _one_at_a_time = self.registering.lock().await;
        let Some(registered) = membership::registered(&self.clients, name).await? else {
            let refusal = Refusal::no_load_balancer(name);
            return Ok(refusal.answer(call, request.headers()));
        };
        let (pass, after) = match &*call.action {
            "DescribeInstanceHealth" => {
                let followed = self.view.states(name);
                let states = membership::health(&asked, &registered, &followed);
                return Ok(answer::health(&states));
            }
            "RegisterInstancesWithLoadBalancer" => {
                let filter = ("instance-id".to_owned(), asked.clone());
                let instances = seen::instances(&self.clients, &self.region, &[filter]).await?;
                match membership::register(&asked, &registered, &instances) {
                    Err(refusal) => return Ok(refusal.answer(call, request.headers())),
                    Ok(registration) => (registration.new, registration.after),
                }
            }
            _ => {
                let asked = asked.into_iter().collect();
                (&registered & &asked, &registered - &asked)
            }
        };
        let body = call.body_with_instances(pass.iter());
        let answer = self.pass(request.map(|_| body.into())).await?;
        Ok(match answer.status().is_success() {
            true => answer::registered(&call.action, after.iter()),
            false => answer,
        })
    }

    /// Passes a request on to moto, and the answer back.
    async fn pass(&self, request: Request<Bytes>) -> anyhow::Result<Answer> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.moto)
            .parse::<Uri>()
            .context("a request's path is no path")?;
        // The length of what a HEAD asks about is in a header, and there is no body to take it from.
        let whole = head.method != Method::HEAD;
        end_to_end(&mut head.headers, true);
        let request = Request::from_parts(head, Full::new(body));
        let answer = self
            .http
            .request(request)
            .await
            .context("moto does not answer")?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await.context("moto's answer broke off")?;
        end_to_end(&mut head.headers, whole);
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// AWS names instances `ip-….<region>.compute.internal`, in all regions but one; moto uses that one's name for all.
    fn with_regional_names(&self, body: Bytes) -> Bytes {
        let domain = Partition::of_region(&self.region).compute_domain(&self.region);
        match std::str::from_utf8(&body) {
            Ok(text) if text.contains(".ec2.internal") => {
                Bytes::from(text.replace(".ec2.internal", &format!(".{domain}")))
            }
            _ => body,
        }
    }
}

/// Takes away what concerns one connection only, and the length of a body that is whole here: it is told anew.
fn end_to_end(headers: &mut HeaderMap, whole: bool) {
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
    if whole {
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// `PutBucketPolicy`: a sub-resource of the bucket.
fn is_policy(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "policy" || part == "policy=")
    })
}
