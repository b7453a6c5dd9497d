//! What a request is for.

use drover_ports::{PortError, PortErrorKind};

/// The code of an error that means: this door does not exist, now or any more. Nothing has been sent.
pub(crate) const NO_DOOR: &str = "NoDoor";

/// The call that a request belongs to. What it does decides what a missing reply means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// As permissions name it, for example `workload:get:Node`.
    pub(crate) action: &'a str,
    /// True when it changes something.
    pub(crate) mutates: bool,
}

impl<'a> Asked<'a> {
    /// A look.
    pub(crate) fn read(action: &'a str) -> Self {
        Self {
            action,
            mutates: false,
        }
    }

    /// What has to be looked up before: it changes nothing yet.
    pub(crate) fn reading(self) -> Self {
        Self::read(self.action)
    }

    /// An error of this call.
    pub(crate) fn error(&self, kind: PortErrorKind, message: impl Into<String>) -> PortError {
        PortError::new(kind, self.action, message)
    }

    /// The request cannot be made.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> PortError {
        self.error(PortErrorKind::Invalid, message)
    }

    /// There is no such door.
    pub(crate) fn no_door(&self, message: impl Into<String>) -> PortError {
        self.error(PortErrorKind::Unreachable, message)
            .with_code(NO_DOOR)
    }

    /// An error on the way to the API that was meant, while looking for `what`. Whatever is missing there is not what
    /// the call is about, so it is never `NotFound`; nothing has been sent, so nothing is lost; and the code, which was
    /// another API's, goes into the text.
    pub(crate) fn on_the_way(&self, what: &str, error: PortError) -> PortError {
        let kind = match error.kind {
            PortErrorKind::NotFound | PortErrorKind::Lost => PortErrorKind::Unreachable,
            kind => kind,
        };
        let message = match error.code.as_str() {
            "" => format!("{what}: {}", error.message),
            code => format!("{what}: {code}: {}", error.message),
        };
        PortError {
            kind,
            action: self.action.to_owned(),
            code: String::new(),
            message,
            ..error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_on_the_way_is_not_what_was_asked_for() {
        let asked = Asked {
            action: "workload:delete:Node",
            mutates: true,
        };
        let error = PortError::new(
            PortErrorKind::NotFound,
            "vintage-mc:get-data:Secret",
            "gone",
        );
        let error = asked.on_the_way("kubeconfig of c0001", error);
        assert_eq!(error.kind, PortErrorKind::Unreachable);
        assert_eq!(error.action, "workload:delete:Node");
    }

    #[test]
    fn the_code_of_another_api_is_not_passed_off_as_this_ones() {
        let error = PortError::new(
            PortErrorKind::Unavailable,
            "vintage-mc:get-data:Secret",
            "etcd",
        )
        .with_code("InternalError");
        let error =
            Asked::read("workload:get-data:Secret").on_the_way("kubeconfig of c0001", error);
        assert_eq!(error.code, "");
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(error.message.contains("InternalError"), "{error}");
    }
}
