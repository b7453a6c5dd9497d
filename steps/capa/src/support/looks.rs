//! Looks that take many calls, of which one often fails for a moment.

use std::future::Future;

use drover_ports::Ports;
use drover_step_api::{Context, Poll, StepError};

use super::defaults::{minutes, seconds};

/// What a look finds, once all of its calls have been answered in one go.
///
/// # Errors
/// What the look says, unless it is transient; `Transient` when that lasts for three minutes.
pub(crate) async fn patient<T, F, Fut>(
    ctx: &Context<Ports>,
    what: &str,
    mut look: F,
) -> Result<T, StepError>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, StepError>> + Send,
    T: Send,
{
    ctx.wait_until(what, seconds(5), minutes(3), || {
        let look = look();
        async move { look.await.map(Poll::Ready) }
    })
    .await
}
