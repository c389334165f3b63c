//! Whether something that tracing may use is there, and what a try of it says.

use std::io;

use aya::{programs::ProgramError, sys::SyscallError};

/// Whether something is available. A lack of permission is no absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is available.
    Yes,
    /// It does not exist, for this reason.
    No(String),
    /// It may not be used, for this reason.
    Forbidden(String),
    /// It could not be found out, for this reason.
    Unknown(String),
}

impl Default for Availability {
    fn default() -> Self {
        Self::Unknown("not examined".to_owned())
    }
}

/// The result of a try.
pub(super) fn tried<E: Refused>(tried: Result<bool, E>, absent: &str) -> Availability {
    match tried {
        Ok(true) => Availability::Yes,
        Ok(false) => Availability::No(absent.to_owned()),
        Err(error) if error.is_permission() => {
            let error = error.reason();
            Availability::Forbidden(format!("the kernel refuses it to this process ({error})"))
        }
        Err(error) => Availability::Unknown(error.reason()),
    }
}

/// An error of a try.
pub(super) trait Refused {
    fn is_permission(&self) -> bool;
    fn reason(&self) -> String;
}

impl Refused for SyscallError {
    fn is_permission(&self) -> bool {
        self.io_error.kind() == io::ErrorKind::PermissionDenied
    }

    fn reason(&self) -> String {
        format!("{}: {}", self.call, self.io_error)
    }
}

impl Refused for ProgramError {
    fn is_permission(&self) -> bool {
        matches!(self, Self::SyscallError(error) if error.is_permission())
    }

    fn reason(&self) -> String {
        match self {
            Self::SyscallError(error) => error.reason(),
            other => other.to_string(),
        }
    }
}
