//! Silence is a finding only when it lasts: one question that nobody answered may have been a blip of the line.

use std::{future::Future, time::Duration};

use drover_ports::{PortError, PortErrorKind, Ports};
use drover_step_api::{Context, StepError};

/// Questions in a row that must stay without an answer.
const QUESTIONS: u32 = 3;

/// From one to the next.
const BETWEEN: Duration = Duration::from_secs(5);

/// Asks until somebody answers, three times at most. See [`is_silence`].
///
/// # Errors
/// When the attempt has to stop in between.
pub(crate) async fn insist<T, F, Fut>(
    ctx: &Context<Ports>,
    ask: F,
) -> Result<Result<T, PortError>, StepError>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, PortError>> + Send,
    T: Send,
{
    again_while(ctx, ask, |answer| answer.as_ref().is_err_and(is_silence)).await
}

/// Asks again while the answer may be a blip, three times in all at most.
///
/// # Errors
/// When the attempt has to stop in between.
pub(crate) async fn again_while<T, F, Fut>(
    ctx: &Context<Ports>,
    mut ask: F,
    may_be_a_blip: fn(&T) -> bool,
) -> Result<T, StepError>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = T> + Send,
    T: Send,
{
    let mut answer = ask().await;
    for _ in 1..QUESTIONS {
        if !may_be_a_blip(&answer) {
            break;
        }
        ctx.sleep(BETWEEN).await?;
        answer = ask().await;
    }
    Ok(answer)
}

/// Nobody was there, or whoever was there could not answer.
pub(crate) fn is_silence(error: &PortError) -> bool {
    matches!(
        error.kind,
        PortErrorKind::Unreachable | PortErrorKind::Unavailable
    )
}
