//! The load: a worker that does nothing, and an operator who starts workflows.
//!
//! The worker is a client of the published protocol and not the `drover-worker` program: that one keeps a spool and runs
//! step code, and this measures the coordinator. It keeps every rule that the coordinator can see: it acks each offer,
//! waits for the durable confirmation, then reports the result; it beats as it was told; after a reconnect it says what it
//! holds.

pub(crate) mod kind;
pub(crate) mod operator;
pub(crate) mod session;

use drover_proto::v1;

/// What a scenario wants to know and decide while the worker works.
pub(crate) trait Steps {
    /// A step runs at the worker from now on: the offer has come.
    fn offered(&mut self, offer: &v1::Offer);

    /// The ack is durable: the step may act. True when it is done at once; false when it goes on.
    fn confirmed(&mut self, attempt: &v1::AttemptRef) -> bool;

    /// The result is durable.
    fn stored(&mut self, attempt: &v1::AttemptRef);

    /// The coordinator says that an attempt no longer counts, or counted before.
    fn dismissed(&mut self, attempt: &v1::AttemptRef);

    /// The coordinator asks for something that nobody waits for in most scenarios.
    fn commanded(&mut self, _command: &v1::Command) {}
}
