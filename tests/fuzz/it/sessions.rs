//! A live engine, and workers that say whatever they like in any order.

use bolero::check;
use drover_core::view;
use drover_fuzz::play::{Game, Move};

/// What a restart must not change: everything but what only memory knows, and what the restart itself does.
fn lasting(workflow: &view::Workflow) -> (String, u64, bool, Vec<(String, u32, bool)>) {
    let steps = workflow.steps.iter().chain(&workflow.guards);
    let steps = steps
        .map(|step| (step.id.clone(), step.attempt, step.ended_at.is_some()))
        .collect();
    (
        workflow.id.clone(),
        workflow.head,
        workflow.state.is_ended(),
        steps,
    )
}

#[test]
fn no_order_of_messages_makes_the_engine_panic_or_write_what_does_not_fold() {
    check!()
        .with_type::<Vec<Move>>()
        .with_iterations(100)
        .with_max_len(1024)
        .for_each(|moves| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut game = Game::begin().await;
                for next in moves {
                    game.play(next).await;
                }
                let before = game.workflows().await;
                game.play(&Move::Restart).await;
                let after = game.workflows().await;
                let quarantined = after
                    .iter()
                    .find(|workflow| workflow.state == view::WorkflowState::Quarantined);
                assert_eq!(quarantined, None);
                assert_eq!(
                    before.iter().map(lasting).collect::<Vec<_>>(),
                    after.iter().map(lasting).collect::<Vec<_>>()
                );
            });
        });
}
