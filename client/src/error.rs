//! Why a service did not do what it was asked.

use tonic::{Code, Status};

/// Why a service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{text:?} is not an address: say host:port, such as 127.0.0.1:7400")]
    Address {
        /// What was said.
        text: String,
    },
    /// Nobody answers there.
    #[error("nobody answers at {address}: {because}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not, as the operating system says it.
        because: String,
    },
    /// The service answered that it will not, or the connection was lost.
    #[error("{}", said(.0))]
    Refused(Box<Status>),
    /// The service answered something that it must not.
    #[error("the answer makes no sense: {what}")]
    Nonsense {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl ClientError {
    /// The code of the service's answer; [`Code::Unavailable`] when there was none.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Address { .. } => Code::InvalidArgument,
            Self::Unreachable { .. } => Code::Unavailable,
            Self::Refused(status) => status.code(),
            Self::Nonsense { .. } => Code::Internal,
        }
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// What the service said; the code's own words when it said nothing.
fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}
