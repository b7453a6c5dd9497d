//! How the kind waits and proves, and how it can be wrong there.

use std::{sync::atomic::Ordering, time::Duration};

use drover_ports::{Kube, PortError, PortErrorKind, Ports};
use drover_step_api::{Context, Poll, StepError};
use serde_json::{Value, json};

use super::{Before, Flawed, MADE_SECRET, Output, annotate, flaws::*, is_slow, is_suspended, key};
use crate::good::{ClusterParams, cluster_ref};

impl<const F: u32> Flawed<F> {
    pub(super) async fn wait(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<(), StepError> {
        let mc = ctx.ports().capi_mc();
        let cluster = cluster_ref(params);
        let seen = async |mc: &Kube| -> Result<bool, PortError> {
            Ok(mc.get(&cluster).await?["status"]["seen"] == true)
        };
        let every = Duration::from_secs(10);
        match F {
            DEAF => {
                while !seen(&mc).await.unwrap_or(false) {
                    if ctx.sleep(every).await.is_err() {
                        ctx.progress(0, 0, "waiting nevertheless");
                    }
                }
                Ok(())
            }
            SILENT => {
                while !seen(&mc).await? {
                    ctx.sleep(every).await?;
                }
                Ok(())
            }
            POLLS_WITHOUT_WAITING => loop {
                seen(&mc).await?;
            },
            PANICS_ON_SURPRISE => {
                let found: Value = mc.get(&cluster).await.expect("it was there a moment ago");
                assert!(found.is_object());
                Ok(())
            }
            SILENT_WHEN_SLOW => {
                for _ in 0..20 {
                    seen(&mc).await?;
                }
                Ok(())
            }
            WANDERS => {
                // Another way on every run of this process but its first.
                if self.runs.fetch_add(1, Ordering::Relaxed) > 0 {
                    is_suspended(ctx, params).await?;
                }
                seen(&mc).await?;
                Ok(())
            }
            _ => {
                let within = Duration::from_secs(600);
                ctx.wait_until("the controller", every, within, || async {
                    match seen(&mc).await? {
                        true => Ok(Poll::Ready(())),
                        false => Ok(Poll::Pending("not seen".to_owned())),
                    }
                })
                .await
            }
        }
    }

    /// The last look, and what the kind makes of its errors.
    pub(super) async fn prove(
        &self,
        ctx: &Context<Ports>,
        params: &ClusterParams,
    ) -> Result<Output, StepError> {
        let mut text = "held".to_owned();
        if F == RACES_ITS_LAST_LOOK {
            // Both sides are cancel-safe: a look changes nothing.
            tokio::select! {
                biased;
                found = is_suspended(ctx, params) => drop(found?),
                () = std::future::ready(()) => {}
            }
            return Ok(Output::held());
        }
        let found = match is_suspended(ctx, params).await {
            Ok(found) => found,
            Err(error) if F == LEAVES_A_TRACE_OF_FAILURE => {
                let permit = ctx.permit_for("mark", "failed").await?;
                annotate(ctx, params, permit, "failed", json!("yes")).await?;
                return Err(error.into());
            }
            Err(error) if F == REMEMBERS_FAILURE => {
                let ballast = "it failed".to_owned();
                ctx.checkpoint(&Before {
                    ballast,
                    ..Before::default()
                })
                .await?;
                return Err(error.into());
            }
            Err(error) => {
                return Err(match (F, error.kind) {
                    (REFUSES_AT_THE_END, _) => StepError::refused("unproved", error.to_string()),
                    (GIVES_UP_ON_BLIPS, _) => StepError::failed("unproved", error.to_string()),
                    (TELLS_WHAT_IT_WAS_TOLD, PortErrorKind::Denied | PortErrorKind::NotFound) => {
                        return Ok(Output {
                            text: error.to_string(),
                        });
                    }
                    (TAKES_DENIAL_FOR_GONE, PortErrorKind::Denied) => StepError::gone("no access"),
                    (WRONG_AFTER_BLIP, PortErrorKind::Throttled) => {
                        return Ok(Output {
                            text: "not held".to_owned(),
                        });
                    }
                    (LEAKS_ERROR, _) => StepError::transient(
                        "unproved",
                        format!("with {}", key(ctx, params).await?),
                    ),
                    _ => error.into(),
                });
            }
        };
        if F == REMEMBERS_FAILURE
            && ctx
                .restored::<Before>()
                .is_some_and(|b| !b.ballast.is_empty())
        {
            text = "held at last".to_owned();
        }
        if F == OUTPUT_OF_THE_MOMENT && ctx.attempt() > 1 {
            text = format!("held: {found}");
        }
        if F == OUTPUT_OF_THE_PACE && is_slow(ctx, params).await? {
            text = "held slowly".to_owned();
        }
        if F == LEAKS_MADE_SECRET {
            text = MADE_SECRET.to_owned();
        }
        if F == LEAKS_OUTPUT {
            text = key(ctx, params).await?;
        }
        if F == LEAKS_PROGRESS {
            ctx.progress(0, 0, key(ctx, params).await?);
        }
        Ok(Output { text })
    }
}
