//! Times as text.

use drover_step_api::Timestamp;

/// RFC 3339 in UTC with whole seconds, as Kubernetes writes times.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
