//! The dashboard: a page of plain HTML, CSS and JavaScript for operators, as texts in the program.
//!
//! There is no build step. The page asks the admin API for JSON and shows it. Its script never makes markup of a text, so
//! that the words of a guest stay words.

/// A file of the dashboard.
pub struct Asset {
    /// Its name, without directories.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// The name of the page itself.
pub const PAGE: &str = "index.html";

/// Makes the list of files with their media types.
macro_rules! assets {
    ($($name:literal: $content_type:expr,)*) => {
        /// The files of the dashboard.
        pub static ASSETS: [Asset; [$($name),*].len()] =
            [$(Asset { name: $name, content_type: $content_type, text: include_str!($name) }),*];
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

assets! {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "main.js": SCRIPT,
    "api.js": SCRIPT,
    "dom.js": SCRIPT,
    "format.js": SCRIPT,
    "figures.js": SCRIPT,
    "handlers.js": SCRIPT,
    "routes.js": SCRIPT,
    "jobs.js": SCRIPT,
    "history.js": SCRIPT,
    "job.js": SCRIPT,
    "requests.js": SCRIPT,
    "logs.js": SCRIPT,
    "profile.js": SCRIPT,
    "system.js": SCRIPT,
}

/// Finds a file by its name.
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}
