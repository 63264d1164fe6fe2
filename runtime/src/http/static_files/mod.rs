//! The files of a directory as responses.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `file_path` | the path of a file below its directory, from the path of a request |
//! | `condition` | entity tags, and preconditions of requests |
//! | `range` | the part of a file that a request asks for |
//! | `file_body` | a file as the body of a response |
//! | `listing` | the page that lists a directory |
//! | `file_response` | the response to a request for a file |

mod condition;
mod file_body;
mod file_path;
pub(in crate::http) mod file_response;
mod listing;
mod range;
