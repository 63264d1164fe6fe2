//! Certificates from an ACME server: their files, the answers to its validations, and their state.
//!
//! Floors, lowest first: `challenges`, `kept`; `certificates`.

mod certificates;
mod challenges;
mod kept;

pub use certificates::{AcmeCertificates, DomainReport};
pub use challenges::WaitingChallenge;
