//! Silence is a finding only when it lasts: one question that nobody answered may have been a blip of the line.

use std::{future::Future, time::Duration};

use drover_ports::{PortError, PortErrorKind, Ports};
use drover_step_api::{Context, StepError};

/// Questions in a row that must stay without an answer.
const QUESTIONS: u32 = 3;

/// From one to the next.
const BETWEEN: Duration = Duration::from_secs(5);

/// Asks until there is an answer other than `Unreachable`, three times at most.
///
/// # Errors
/// When the attempt has to stop in between.
pub(crate) async fn insist<T, F, Fut>(
    ctx: &Context<Ports>,
    mut ask: F,
) -> Result<Result<T, PortError>, StepError>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, PortError>> + Send,
    T: Send,
{
    let mut answer = ask().await;
    for _ in 1..QUESTIONS {
        match &answer {
            Err(error) if error.kind == PortErrorKind::Unreachable => {
                ctx.sleep(BETWEEN).await?;
                answer = ask().await;
            }
            _ => break,
        }
    }
    Ok(answer)
}
