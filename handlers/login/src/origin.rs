//! Refuses forms that pages of other sites send.

use portcullis_guest::{Error, Request};

/// Checks that a form comes from a page of this site. A client without these fields is no browser.
pub(crate) fn check(request: &Request) -> Result<(), Error> {
    let refused = || Err(Error::forbidden("the form comes from another site"));
    match (request.header("sec-fetch-site"), request.header("origin")) {
        (Some("same-origin" | "none"), _) | (None, None) => Ok(()),
        (Some(_), _) => refused(),
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_some() && host == request.header("host") { Ok(()) } else { refused() }
        }
    }
}
