//! Health checks as a classic load balancer makes them.
//!
//! An instance serves once it has passed as many checks in a row as the healthy threshold says, and no longer once it has
//! failed as many in a row as the unhealthy threshold says. What is said about an instance is said in AWS's own words.
//! Source: *Configure health checks for your Classic Load Balancer* and `DescribeInstanceHealth` in the AWS documentation.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::tls::{self, Tls};

/// A load balancer's health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HealthCheck {
    target: Target,
    /// From the beginning of one check to the beginning of the next.
    pub(super) interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
}

/// What is asked of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// That its port takes a connection.
    Connect(u16),
    /// That it shakes hands, whatever its certificate.
    Shake(u16),
    /// That it answers a GET with 200.
    Http { port: u16, path: String },
    /// The same after shaking hands.
    Https { port: u16, path: String },
}

impl HealthCheck {
    /// A health check as the API describes it; times in seconds.
    pub(super) fn new(
        target: &str,
        interval: i32,
        timeout: i32,
        healthy: i32,
        unhealthy: i32,
    ) -> anyhow::Result<Self> {
        let positive = |name: &str, value: i32| {
            u32::try_from(value)
                .ok()
                .filter(|value| *value > 0)
                .with_context(|| format!("{name} {value} is not positive"))
        };
        Ok(Self {
            target: Target::parse(target).with_context(|| format!("bad target {target:?}"))?,
            interval: Duration::from_secs(positive("interval", interval)?.into()),
            timeout: Duration::from_secs(positive("timeout", timeout)?.into()),
            healthy: positive("healthy threshold", healthy)?,
            unhealthy: positive("unhealthy threshold", unhealthy)?,
        })
    }

    /// The check of a load balancer for which none was configured.
    pub(super) fn default_of(instance_port: u16) -> Self {
        Self {
            target: Target::Connect(instance_port),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            healthy: 10,
            unhealthy: 2,
        }
    }

    /// Checks an instance once. Takes no longer than the check's timeout.
    pub(super) async fn probe(&self, address: Ipv4Addr) -> bool {
        let answer = timeout(self.timeout, self.target.ask(address)).await;
        matches!(answer, Ok(Ok(true)))
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let (protocol, rest) = text.split_once(':')?;
        let (port, path) = match rest.split_once('/') {
            Some((port, path)) => (port, format!("/{path}")),
            None => (rest, String::new()),
        };
        let port = port.parse().ok()?;
        match protocol {
            "HTTP" if !path.is_empty() => Some(Self::Http { port, path }),
            "HTTPS" if !path.is_empty() => Some(Self::Https { port, path }),
            "TCP" if path.is_empty() => Some(Self::Connect(port)),
            "SSL" if path.is_empty() => Some(Self::Shake(port)),
            _ => None,
        }
    }

    async fn ask(&self, address: Ipv4Addr) -> anyhow::Result<bool> {
        let to = |port: &u16| SocketAddr::from((address, *port));
        match self {
            Self::Connect(port) => TcpStream::connect(to(port)).await.map(drop)?,
            Self::Shake(port) => shake(to(port)).await.map(drop)?,
            Self::Http { port, path } => {
                return get(TcpStream::connect(to(port)).await?, to(port), path).await;
            }
            Self::Https { port, path } => {
                return get(shake(to(port)).await?, to(port), path).await;
            }
        }
        Ok(true)
    }
}

async fn shake(to: SocketAddr) -> anyhow::Result<impl AsyncRead + AsyncWrite + Unpin> {
    tls::connect(&Tls::trusting_anybody(None)?, to, &to.ip().to_string()).await
}

async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: SocketAddr,
    path: &str,
) -> anyhow::Result<bool> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ELB-HealthChecker/1.0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // The status line is all that counts; a kilobyte is more than any has.
    let mut answer = stream.take(1024);
    let mut head = Vec::new();
    while !head.contains(&b'\n') && answer.read_buf(&mut head).await? > 0 {}
    Ok(is_ok(&head))
}

/// Whether an answer's first line says 200.
fn is_ok(head: &[u8]) -> bool {
    let mut words = head.split(|byte| *byte == b' ');
    let http = words.next().is_some_and(|word| word.starts_with(b"HTTP/"));
    http && words.next() == Some(b"200")
}

/// What a load balancer says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Gets new connections.
    InService,
    /// Registered, and has neither passed nor failed enough checks yet.
    Registering,
    /// Failed too many checks in a row.
    Failing,
    /// Does not run; in which state it is instead.
    NotRunning(String),
    /// Not registered, though asked about.
    NotRegistered,
}

impl State {
    /// `InService` or `OutOfService`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::InService => "InService",
            _ => "OutOfService",
        }
    }

    /// Who is the cause: `ELB`, `Instance`, or `N/A`.
    pub(super) fn reason_code(&self) -> &'static str {
        match self {
            Self::InService => "N/A",
            Self::Registering => "ELB",
            Self::Failing | Self::NotRunning(_) | Self::NotRegistered => "Instance",
        }
    }

    /// The reason in AWS's words.
    pub(super) fn description(&self) -> String {
        match self {
            Self::InService => "N/A".to_owned(),
            Self::Registering => "Instance registration is still in progress.".to_owned(),
            Self::Failing => {
                "Instance has failed at least the UnhealthyThreshold number of health checks consecutively."
                    .to_owned()
            }
            Self::NotRunning(state) => format!("Instance is in {state} state."),
            Self::NotRegistered => {
                "Instance is not currently registered with the LoadBalancer.".to_owned()
            }
        }
    }
}

/// The health of one registered instance.
#[derive(Clone, Debug)]
pub(super) struct Health {
    state: State,
    /// Checks passed, or failed, in a row; one of them is always zero.
    passed: u32,
    failed: u32,
}

impl Health {
    /// Of an instance that has just been registered.
    pub(super) fn new() -> Self {
        Self {
            state: State::Registering,
            passed: 0,
            failed: 0,
        }
    }

    /// What is said of it now.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Takes the result of one check. True when the state changed.
    pub(super) fn record(&mut self, passed: bool, check: &HealthCheck) -> bool {
        if matches!(self.state, State::NotRunning(_)) {
            return false;
        }
        if passed {
            self.passed = self.passed.saturating_add(1);
            self.failed = 0;
        } else {
            self.failed = self.failed.saturating_add(1);
            self.passed = 0;
        }
        let next = if self.passed >= check.healthy {
            State::InService
        } else if self.failed >= check.unhealthy {
            State::Failing
        } else {
            return false;
        };
        std::mem::replace(&mut self.state, next.clone()) != next
    }

    /// Takes the instance's state in EC2. One that has begun to run again starts like a new one. True when the state
    /// changed.
    pub(super) fn instance_is(&mut self, ec2: &str) -> bool {
        let next = match (&self.state, ec2) {
            (State::NotRunning(_), "running") => State::Registering,
            (_, "running") => return false,
            (_, other) => State::NotRunning(other.to_owned()),
        };
        let changed = self.state != next;
        *self = Self {
            state: next,
            ..Self::new()
        };
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(healthy: i32, unhealthy: i32) -> HealthCheck {
        HealthCheck::new("TCP:443", 5, 3, healthy, unhealthy).unwrap()
    }

    fn after(results: &[bool]) -> State {
        let check = check(2, 3);
        let mut health = Health::new();
        for result in results {
            health.record(*result, &check);
        }
        health.state().clone()
    }

    #[test]
    fn a_new_instance_serves_only_after_the_healthy_threshold() {
        assert_eq!(after(&[]), State::Registering);
        assert_eq!(after(&[true]), State::Registering);
        assert_eq!(after(&[true, false, true]), State::Registering);
        assert_eq!(after(&[true, true]), State::InService);
    }

    #[test]
    fn it_stops_serving_only_after_failures_in_a_row() {
        assert_eq!(after(&[true, true, false, false]), State::InService);
        assert_eq!(
            after(&[true, true, false, false, true, false, false]),
            State::InService
        );
        assert_eq!(after(&[true, true, false, false, false]), State::Failing);
        assert_eq!(after(&[false, false, false]), State::Failing);
    }

    #[test]
    fn it_comes_back_by_the_healthy_threshold() {
        assert_eq!(after(&[false, false, false, true]), State::Failing);
        assert_eq!(after(&[false, false, false, true, true]), State::InService);
    }

    #[test]
    fn changes_are_told_once() {
        let check = check(1, 1);
        let mut health = Health::new();
        assert!(health.record(true, &check));
        assert!(!health.record(true, &check));
        assert!(health.record(false, &check));
        assert!(!health.record(false, &check));
    }

    #[test]
    fn a_stopped_instance_never_serves_and_starts_anew() {
        let check = check(2, 2);
        let mut health = Health::new();
        health.record(true, &check);
        health.record(true, &check);
        assert!(health.instance_is("stopped"));
        assert!(!health.instance_is("stopped"));
        health.record(true, &check);
        assert_eq!(
            health.state().description(),
            "Instance is in stopped state."
        );
        assert!(health.instance_is("running"));
        assert!(!health.instance_is("running"));
        health.record(true, &check);
        assert_eq!(*health.state(), State::Registering);
        health.record(true, &check);
        assert_eq!(*health.state(), State::InService);
    }

    #[test]
    fn targets_are_read_as_the_api_writes_them() {
        let http = |port, path: &str| Target::Http {
            port,
            path: path.to_owned(),
        };
        for (text, expected) in [
            ("HTTP:8089/healthz", Some(http(8089, "/healthz"))),
            ("HTTP:80/", Some(http(80, "/"))),
            ("TCP:2379", Some(Target::Connect(2379))),
            ("SSL:6443", Some(Target::Shake(6443))),
            (
                "HTTPS:6443/readyz",
                Some(Target::Https {
                    port: 6443,
                    path: "/readyz".to_owned(),
                }),
            ),
            ("HTTP:8089", None),
            ("TCP:2379/x", None),
            ("UDP:53", None),
            ("TCP:99999", None),
        ] {
            assert_eq!(Target::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn only_200_counts() {
        assert!(is_ok(b"HTTP/1.1 200 OK\r\n"));
        assert!(is_ok(b"HTTP/1.0 200 \r\n"));
        assert!(!is_ok(b"HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(!is_ok(b"SSH-2.0-x 200 \r\n"));
        assert!(!is_ok(b""));
    }
}
