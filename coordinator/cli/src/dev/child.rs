//! One child process: begun, begun again when it dies, ended in good order.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{ChildStdin, Command},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::process::Ready;
use crate::failure::{Failure, Outcome};

/// How long a child may take until it is ready. A large world takes a while to make.
const START: Duration = Duration::from_secs(120);

/// How long a child may take to end in good order.
const END: Duration = Duration::from_secs(40);

/// A child that dies sooner than this after it was ready waits before it is begun again.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Arguments of this program, from where the child listened before; at its first start it has not yet.
pub(super) type Arguments = Box<dyn Fn(Option<&Ready>) -> Vec<String> + Send + Sync>;

/// What a child is started with. Begun again, it gets the addresses that it had.
pub(super) struct Spec {
    /// As people know it.
    pub(super) name: String,
    /// Arguments of this program.
    pub(super) args: Arguments,
    /// Where its stderr goes.
    pub(super) log: PathBuf,
}

/// Tells a person something.
pub(super) type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// A child that is kept running.
pub(super) struct Child {
    /// Where it is reached.
    pub(super) ready: Ready,
    strike: Arc<Notify>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Child {
    /// Begins it and waits until it is ready. When it cannot be begun again later, that is sent to `broken`.
    pub(super) async fn start(
        spec: Spec,
        say: Say,
        broken: mpsc::UnboundedSender<Failure>,
    ) -> Outcome<Self> {
        let stop = CancellationToken::new();
        let strike = Arc::new(Notify::new());
        let (tell, told) = oneshot::channel();
        let keeper = Keeper {
            spec,
            say,
            broken,
            strike: Arc::clone(&strike),
            stop: stop.clone(),
        };
        let keeper = TaskTracker::new().spawn(keeper.keep(tell));
        match told.await {
            Ok(Ok(ready)) => Ok(Self {
                ready,
                strike,
                stop,
                keeper,
            }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::failed("a child's keeper ended; this is a bug")),
        }
    }

    /// SIGKILL, as from outside: it is begun again.
    pub(super) fn kill(&self) {
        self.strike.notify_one();
    }

    /// Ends it in good order.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // The keeper does not panic; when it does, its child has ended with its stdin.
        self.keeper.await.ok();
    }
}

/// Keeps one child running.
struct Keeper {
    spec: Spec,
    say: Say,
    broken: mpsc::UnboundedSender<Failure>,
    strike: Arc<Notify>,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, tell: oneshot::Sender<Outcome<Ready>>) {
        let Self {
            spec,
            say,
            broken,
            strike,
            stop,
        } = self;
        let mut tell = Some(tell);
        let mut last = None;
        loop {
            let (mut process, life, ready) = match begin(&spec, last.as_ref()).await {
                Ok(begun) => begun,
                Err(failure) => {
                    match tell.take() {
                        // Whoever started it has gone away, otherwise.
                        Some(tell) => drop(tell.send(Err(failure))),
                        None => drop(broken.send(failure)),
                    }
                    return;
                }
            };
            let since = Instant::now();
            match tell.take() {
                Some(tell) => drop(tell.send(Ok(ready.clone()))),
                None => say(&format!("{} runs again", spec.name)),
            }
            last = Some(ready);
            let status = loop {
                // All arms are cancel-safe: a process is waited for again.
                tokio::select! {
                    status = process.wait() => break status,
                    // It may have ended by itself, which the wait will tell.
                    () = strike.notified() => drop(process.start_kill()),
                    () = stop.cancelled() => {
                        end(&mut process, life).await;
                        return;
                    }
                }
            };
            let how = status.map_or_else(|error| error.to_string(), how);
            say(&format!("{} ended ({how}), begins again", spec.name));
            let pause = SHORT_LIFE.saturating_sub(since.elapsed());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for no reason that is known".to_owned(),
    }
}

async fn begin(
    spec: &Spec,
    last: Option<&Ready>,
) -> Outcome<(tokio::process::Child, ChildStdin, Ready)> {
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format!("{}: {what}: {error}", spec.name))
    };
    let program =
        std::env::current_exe().map_err(|error| cannot("where is this program", &error))?;
    if let Some(folder) = spec.log.parent() {
        fs::create_dir_all(folder).map_err(|error| cannot("its log", &error))?;
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(&spec.log)
        .map_err(|error| cannot("its log", &error))?;
    let mut process = Command::new(program)
        .arg("dev")
        .args((spec.args)(last))
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in the terminal is for the parent, which ends its children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot("does not start", &error))?;
    // Taken from the process, because waiting for it would close what it has.
    let life = process.stdin.take().expect("stdin is piped");
    let stdout = process.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout).lines();
    let first = tokio::time::timeout(START, lines.next_line()).await;
    let ready = match first {
        Ok(Ok(Some(line))) => serde_json::from_str(&line).ok(),
        _ => None,
    };
    match ready {
        Some(ready) => Ok((process, life, ready)),
        None => {
            end(&mut process, life).await;
            Err(Failure::failed(format!(
                "{} does not start: {}",
                spec.name,
                last_words(spec)
            )))
        }
    }
}

/// The last line of its log.
fn last_words(spec: &Spec) -> String {
    let text = fs::read_to_string(&spec.log).unwrap_or_default();
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.map_or_else(
        || format!("it said nothing, see {}", spec.log.display()),
        |line| line.trim_start_matches("drover: ").to_owned(),
    )
}

/// Closing its stdin asks it to end.
async fn end(process: &mut tokio::process::Child, life: ChildStdin) {
    drop(life);
    if tokio::time::timeout(END, process.wait()).await.is_err() {
        // It ends with this process at the latest.
        drop(process.start_kill());
        drop(process.wait().await);
    }
}
