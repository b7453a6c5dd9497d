//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use drover_core::{time::parse_duration, view::WorkflowState};

/// Drover moves herds of Kubernetes clusters.
#[derive(Debug, Parser)]
#[command(
    name = "drover",
    version,
    max_term_width = 110,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where the coordinator is, for example 127.0.0.1:7411
    #[arg(
        long,
        global = true,
        env = "DROVER_ADDRESS",
        value_name = "ADDRESS",
        help_heading = "Global options"
    )]
    pub(crate) address: Option<String>,
    /// Context of the contexts file to use
    #[arg(
        long,
        global = true,
        env = "DROVER_CONTEXT",
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub(crate) context: Option<String>,
    /// How long one request may take (PT30S), or how long `workflow wait` waits (for ever)
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration, help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
    /// Output format
    #[arg(short, global = true, value_enum, default_value_t = Format::Table, help_heading = "Global options")]
    pub(crate) output: Format,
    /// Leave the header line of tables out
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_headers: bool,
    /// How tables show times
    #[arg(long, global = true, value_enum, default_value_t = TimeStyle::Relative, help_heading = "Global options")]
    pub(crate) time: TimeStyle,
    /// No colours (NO_COLOR does the same)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Wide,
    Json,
    Jsonl,
    Yaml,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeStyle {
    Relative,
    Iso,
}

/// How long one request may take when nobody says.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Global {
    /// How long one request may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.timeout.unwrap_or(REQUEST_TIMEOUT)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Live migrations in the simulated world, from start to report: one, or a fleet with --clusters
    #[cfg(feature = "dev")]
    Demo(crate::dev::DemoArgs),
    /// Simulated world, coordinator and workers on this machine
    #[cfg(feature = "dev")]
    Dev(Box<crate::dev::DevArgs>),
    /// Migrations as data
    #[command(subcommand)]
    Definition(DefinitionCommand),
    /// Running and ended migrations
    #[command(subcommand, visible_alias = "wf")]
    Workflow(WorkflowCommand),
    /// Agents in the installations
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// The units of placement
    #[command(subcommand)]
    Installation(InstallationCommand),
    /// Stop every new step, fleet-wide
    #[command(subcommand)]
    Brake(BrakeCommand),
    /// Write a consistent copy of the coordinator's store to a file
    Backup(BackupArgs),
    /// Fill an empty coordinator from a backup; every open workflow is paused
    Restore(RestoreArgs),
    /// Who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print completions for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Versions of this command and of the coordinator
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// Find every problem of definitions, without a coordinator
    Validate {
        /// YAML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Declarations of step kinds (JSON, as `definition kinds -o json` prints them) instead of the built-in ones
        #[arg(long, value_name = "FILE")]
        kinds: Option<PathBuf>,
    },
    /// Store a definition, so that workflows can be started with it
    Register {
        /// YAML file
        file: PathBuf,
        /// Check everything, store nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Definitions that can be started
    List,
    /// One definition as it was registered
    Show {
        /// NAME or NAME@VERSION
        name: String,
    },
    /// What changed between two definitions
    Diff {
        /// FILE, NAME or NAME@VERSION
        a: String,
        /// FILE, NAME or NAME@VERSION
        b: String,
    },
    /// Step kinds that any worker has ever announced
    Kinds,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Start a migration; the same id and input again is the same migration
    Start(StartArgs),
    /// Migrations, running and ended
    List(ListArgs),
    /// One line a step, and the sentence that says what unblocks each
    Describe {
        /// Workflow id
        id: String,
    },
    /// Every event, exactly as stored with -o jsonl
    History {
        /// Workflow id
        id: String,
        /// Go on until the workflow has ended
        #[arg(short, long)]
        follow: bool,
    },
    /// A step's output as JSON, however large
    Output {
        /// Workflow id
        id: String,
        /// Step id
        step: String,
    },
    /// See it move until it has ended
    Watch {
        /// Workflow id
        id: String,
    },
    /// Wait until it is in a state
    Wait {
        /// Workflow id
        id: String,
        /// States to wait for, comma-separated; any end when left out
        #[arg(long = "for", value_name = "STATE", value_delimiter = ',', value_parser = workflow_state)]
        states: Vec<WorkflowState>,
    },
    /// Start nothing new at the next safe point
    Pause(ActArgs),
    /// Go on
    Resume(ActArgs),
    /// End it and take back what may have started; refused after the pivot
    Cancel(ActArgs),
    /// End it as it stands, without taking anything back; wants --yes and a --reason
    Terminate(ActArgs),
    /// Another round of attempts for a step
    Retry {
        #[command(flatten)]
        step: StepArgs,
        /// New parameters (JSON or YAML file, - for stdin): a new request to the outside, not the same one again
        #[arg(long, value_name = "FILE")]
        params: Option<PathBuf>,
    },
    /// Go on without a step
    Skip {
        #[command(flatten)]
        step: StepArgs,
        /// What later steps read instead of its output (JSON or YAML file, - for stdin)
        #[arg(long = "output", value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// Let a gate open
    Approve(GateArgs),
    /// Hold a gate closed
    Reject(GateArgs),
    /// Go on by another version of the definition; shows what that changes and asks first
    Replan(ReplanArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// NAME or NAME@VERSION of a registered definition
    pub(crate) definition: String,
    /// Id of the new workflow
    #[arg(long)]
    pub(crate) id: String,
    /// Input (JSON or YAML file, - for stdin)
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// One value of the input; wins over the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Stored with the first event
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Check everything, start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// CEL over the JSON: state == "Paused" && installation == "golem"
    #[arg(short, long, default_value = "")]
    pub(crate) query: String,
    /// At most this many
    #[arg(long, default_value_t = 500)]
    pub(crate) limit: u32,
    /// Where an earlier page ended
    #[arg(long, default_value = "")]
    pub(crate) page_token: String,
    /// Look again every two seconds
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Which workflows, and how to act on them.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// All workflows that match (CEL over the JSON) instead of one; they are listed, counted and confirmed
    #[arg(short, long, value_name = "QUERY")]
    pub(crate) query: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Stored with the event
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Say what would happen, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    /// Workflow id
    #[arg(required_unless_present = "query", conflicts_with = "query")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// Workflow id (left out with --query), then step id
    #[arg(value_names = ["ID", "STEP"], num_args = 1..=2, required = true)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Workflow id (left out with --query), then the gate, which may be left out when only one waits
    #[arg(value_names = ["ID", "GATE"], num_args = 0..=2)]
    pub(crate) names: Vec<String>,
    /// Digest of the evidence you saw; refused when it has changed. Left out: as it is now
    #[arg(long, default_value = "", conflicts_with = "query")]
    pub(crate) evidence: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct ReplanArgs {
    /// Workflow id
    #[arg(required_unless_present = "query", conflicts_with = "query")]
    pub(crate) id: Option<String>,
    /// NAME or NAME@VERSION of a registered definition; the newest of the one it goes by when left out
    #[arg(long = "to", value_name = "NAME[@VERSION]")]
    pub(crate) definition: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// All known workers
    List {
        /// CEL over the JSON
        #[arg(short, long, default_value = "")]
        query: String,
        /// Look again every two seconds
        #[arg(short, long)]
        watch: bool,
    },
    /// One worker: what it serves, what it holds
    Describe {
        /// Worker id
        id: String,
    },
    /// Offer it nothing new until it is restarted or undrained; it finishes what it has, critical spans included
    Drain {
        #[command(flatten)]
        act: WorkerActArgs,
        /// Its process ends once it holds nothing
        #[arg(long)]
        exit: bool,
    },
    /// Offer it steps again
    Undrain(WorkerActArgs),
    /// Vouch that it is gone for good: its attempts go to others at once, critical ones too
    DeclareDead {
        #[command(flatten)]
        act: WorkerActArgs,
        /// Do it
        #[arg(short, long)]
        yes: bool,
    },
    /// Make it forget cached credentials
    RefreshCredentials {
        /// Worker id
        id: String,
    },
    /// Set its log level until it is restarted
    LogLevel {
        /// Worker id
        id: String,
        /// error, warn, info, debug or trace
        level: String,
    },
    /// What it holds and does right now, as JSON
    Dump {
        /// Worker id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WorkerActArgs {
    /// Worker id
    pub(crate) id: String,
    /// Stored in the audit log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Say what would happen, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstallationCommand {
    /// All installations that workers serve
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BrakeCommand {
    /// Start nothing new anywhere; compensations, guards and critical spans go on
    On {
        /// Stored in the audit log
        #[arg(long, default_value = "")]
        reason: String,
        /// Say what it would reach, change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Go on
    Off {
        /// Stored in the audit log
        #[arg(long, default_value = "")]
        reason: String,
        /// Change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Whether it is on, and what runs on
    Status,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
    /// File to write; must not exist
    #[arg(required = true)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// How the continuous backup is; fails when it does not go on
    Status,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A backup, or the folder of a continuous one
    pub(crate) file: PathBuf,
    /// Stored in the audit log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Do it
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Who did what, in order
    List {
        /// Go on as things happen
        #[arg(short, long)]
        follow: bool,
    },
    /// Check every hash chain: of the coordinator, or of a backup without one
    Verify {
        /// A backup, or the folder of a continuous one; the coordinator when left out
        file: Option<PathBuf>,
        /// An earlier backup, or the folder of a continuous one: its history must be how this one begins, but for restores
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// File with the Ed25519 public key of the audit head's signature (64 hex digits)
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "use an ISO 8601 duration such as PT30S".to_owned())
}

fn workflow_state(text: &str) -> Result<WorkflowState, String> {
    WorkflowState::ALL
        .into_iter()
        .find(|state| state.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            let all: Vec<&str> = WorkflowState::ALL
                .iter()
                .map(|state| state.as_str())
                .collect();
            format!("use one of {}", all.join(", "))
        })
}
