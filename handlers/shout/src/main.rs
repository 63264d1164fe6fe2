//! Answers each WebSocket message in capitals, and `bye` with a goodbye.
//!
//! Each message is a line on stdin, and each answer a line on stdout: `echo hello | portcullis run
//! build/shout.wasm` does the same in a terminal.

use portcullis_guest::websocket::{Message, WebSocket};
use std::io;

fn main() -> io::Result<()> {
    converse(&mut WebSocket::of_this_process())
}

fn converse(socket: &mut WebSocket<'_>) -> io::Result<()> {
    while let Some(Message::Text(text)) = socket.receive()? {
        if text == "bye" {
            return socket.send("GOOD BYE");
        }
        socket.send(text.to_uppercase())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_guest::websocket::Shape;

    #[test]
    fn it_shouts_until_it_is_told_goodbye() {
        let mut said = Vec::new();

        converse(&mut WebSocket::over(&b"hello\nbye\nmore\n"[..], &mut said, Shape::Lines)).unwrap();

        assert_eq!(said, b"HELLO\nGOOD BYE\n");
    }
}
