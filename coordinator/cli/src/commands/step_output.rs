//! `drover workflow output`: a step's output, as it was stored.

use drover_proto::v1;

use super::Session;
use crate::failure::Outcome;

impl Session {
    /// Prints each part as it comes: an output may be larger than one wants in memory.
    pub(crate) async fn step_output(&mut self, id: String, step: String) -> Outcome {
        let request = v1::ReadOutputRequest { id, step };
        let mut parts = self
            .client
            .workflows
            .read_output(request)
            .await?
            .into_inner();
        while let Some(part) = parts.message().await? {
            self.output.raw(&part.data)?;
        }
        self.output.raw(b"\n")
    }
}
