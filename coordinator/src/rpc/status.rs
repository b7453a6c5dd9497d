//! From refusals to gRPC statuses, in one place. The stable code travels in the trailer `drover-code`; problems of a
//! definition travel one a trailer line in `drover-problem`.

use tonic::{Code, Status, metadata::MetadataMap};

use crate::refusal::{Kind, Refusal};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.kind {
            Kind::Invalid => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::Refused => Code::FailedPrecondition,
            Kind::Unavailable => Code::Unavailable,
        };
        let mut metadata = MetadataMap::new();
        if let Ok(value) = refusal.code.parse() {
            metadata.insert("drover-code", value);
        }
        for problem in &refusal.problems {
            // Trailers are ASCII; what is not is replaced.
            let line: String = problem
                .to_string()
                .chars()
                .map(|c| {
                    if c.is_ascii() && !c.is_ascii_control() {
                        c
                    } else {
                        '?'
                    }
                })
                .collect();
            if let Ok(value) = line.parse() {
                metadata.append("drover-problem", value);
            }
        }
        Self::with_metadata(code, refusal.message, metadata)
    }
}
