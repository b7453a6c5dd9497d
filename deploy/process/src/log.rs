//! The log of a server, on stderr.

use std::fmt;

use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// A filter that is none, such as `loud!`.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is no log filter: {why}; use for example info or drover_worker=debug")]
pub struct FilterError {
    filter: String,
    why: String,
}

/// Changes the filter of a log that has begun.
#[derive(Clone)]
pub struct Log(reload::Handle<EnvFilter, Registry>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::try_new(filter).map_err(|error| FilterError {
        filter: filter.to_owned(),
        why: error.to_string(),
    })
}

impl Log {
    /// Begins the log of this process; once in its life.
    ///
    /// # Errors
    /// When the filter is none.
    pub fn begin(filter: &str) -> Result<Self, FilterError> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        tracing_subscriber::registry()
            .with(filter)
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
            .init();
        Ok(Self(handle))
    }

    /// Changes what is logged.
    ///
    /// # Errors
    /// When the filter is none; the log stays as it was.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = parse(filter)?;
        self.0.reload(parsed).map_err(|error| FilterError {
            filter: filter.to_owned(),
            why: error.to_string(),
        })
    }
}
