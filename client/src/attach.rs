//! [`Attach`]: how to join an execution, as a program builds it up. Pure.

use remex::v1::AttachRequest;

/// Joins an execution that outlives its callers, from an exact position.
///
/// ```
/// use remex_client::Attach;
///
/// let all = Attach::to("01930000-0000-7000-8000-000000000000");
/// let rest = Attach::to("01930000-0000-7000-8000-000000000000").after(7).observer();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    execution_id: String,
    after: u64,
    no_follow: bool,
    observer: bool,
    resumes: bool,
}

impl Attach {
    /// From its first event, to its end.
    pub fn to(execution_id: impl Into<String>) -> Self {
        Self {
            execution_id: execution_id.into(),
            after: 0,
            no_follow: false,
            observer: false,
            resumes: false,
        }
    }

    /// From the event behind `sequence`, such as [`Execution::position`](crate::Execution::position) said it.
    #[must_use]
    pub fn after(mut self, sequence: u64) -> Self {
        self.after = sequence;
        self
    }

    /// Ends at what is there now.
    #[must_use]
    pub fn no_follow(mut self) -> Self {
        self.no_follow = true;
        self
    }

    /// Only looks: it can send nothing, and its coming and going means nothing to the command.
    #[must_use]
    pub fn observer(mut self) -> Self {
        self.observer = true;
        self
    }

    /// Rides through lost connections, as [`Command::resume`](crate::Command::resume) says. stdin is then sent at its
    /// positions: what another caller has written since this one came takes the place of as many bytes of it.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.resumes = true;
        self
    }

    /// The execution to join.
    pub fn execution_id(&self) -> &str {
        &self.execution_id
    }

    /// The request, and whether it rides.
    pub(crate) fn into_request(self) -> (AttachRequest, bool) {
        let request = AttachRequest {
            execution_id: self.execution_id,
            after_sequence: self.after,
            no_follow: self.no_follow,
            observer: self.observer,
            ..AttachRequest::default()
        };
        (request, self.resumes)
    }
}
