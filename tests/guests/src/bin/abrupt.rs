//! Writes more than a pipe holds, then exits abruptly without cleaning up.

use std::io::Write;

fn main() {
    let mut out = std::io::stdout().lock();
    let _sent = out.write_all(b"Content-Type: text/plain\n\n");
    let _sent = out.write_all(&[b'x'; 200_000]);
    let _sent = out.write_all(b"\nend");
    let _sent = out.flush();
    std::process::exit(0);
}
