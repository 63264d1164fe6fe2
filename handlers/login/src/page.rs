//! The page with the form.

use portcullis_guest::Response;

/// What the page says above the form.
pub(crate) enum Notice {
    /// Nothing.
    None,
    /// The user or the password is wrong.
    WrongPassword,
}

/// The page needs nothing else, no other page may frame it, and its form goes to this site alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Makes the page; `to` is where the browser goes after the login. Its status is 401, which never passes a gate.
pub(crate) fn login(to: &str, notice: Notice) -> Response {
    let to = escape(to);
    let notice = match notice {
        Notice::None => "",
        Notice::WrongPassword => "<p role=\"alert\">The user or the password is wrong.</p>\n",
    };
    let page = format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Log in</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 20rem; padding: 0 1rem }}
input, button {{ box-sizing: border-box; display: block; font: inherit; margin-bottom: 1rem; padding: .25rem; width: 100% }}
</style>
<h1>Log in</h1>
{notice}<form method=\"post\" action=\"/login\">
<input type=\"hidden\" name=\"return\" value=\"{to}\">
<label>User <input name=\"user\" autocomplete=\"username\" required autofocus></label>
<label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>
<button>Log in</button>
</form>
"
    );
    Response::html(page)
        .with_status(401)
        .header("WWW-Authenticate", "Session")
        .header("Content-Security-Policy", POLICY)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
