//! Goes on behind its response: writes more output, and puts away a file that is named after the request.

use std::io::{self, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

fn main() -> io::Result<()> {
    match env::args().nth(1).as_deref() {
        // Announces the length of its response, and writes more a moment after it.
        Some("whole") => {
            print!("Content-Type: text/plain\nContent-Length: 5\n\nhello");
            io::stdout().flush()?;
            sleep(Duration::from_millis(5));
            io::stdout().write_all(b"\n")?;
        }
        // Begins its response, waits until the file `go` exists, and writes more than a pipe holds.
        _ => {
            print!("Content-Type: text/plain\n\nbegun\n");
            io::stdout().flush()?;
            while !Path::new("/data/go").exists() {
                sleep(Duration::from_millis(5));
            }
            io::stdout().write_all(&vec![b'x'; 256 << 10])?;
        }
    }
    io::stdout().flush()?;
    fs::write(Path::new("/data").join(env::var("REQUEST_ID").unwrap_or_default()), "put away")
}
