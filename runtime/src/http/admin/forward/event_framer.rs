//! Lines of a job's output as server-sent events (WHATWG HTML §9.2.6).

use bytes::{BufMut as _, Bytes, BytesMut};

/// Makes an event of each line. The page parses a line as JSON, which has no line break within.
#[derive(Default)]
pub(super) struct EventFramer {
    /// Whether the last piece ended within a line.
    is_within_line: bool,
}

impl EventFramer {
    /// Frames the next piece of the output, which may begin and end within a line.
    pub(super) fn frame(&mut self, piece: &[u8]) -> Bytes {
        let mut framed = BytesMut::with_capacity(piece.len() + 64);
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_within_line {
                framed.put_slice(b"data: ");
            }
            framed.put_slice(line);
            self.is_within_line = !line.ends_with(b"\n");
            if !self.is_within_line {
                framed.put_slice(b"\n");
            }
        }
        framed.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_event_however_the_output_is_cut() {
        for pieces in [&["{1}\n{2}\n"][..], &["{1}", "\n{2", "}\n"], &["{1}\n", "", "{2}\n"]] {
            let mut framer = EventFramer::default();

            let framed: Vec<Bytes> = pieces.iter().map(|piece| framer.frame(piece.as_bytes())).collect();

            assert_eq!(framed.concat(), b"data: {1}\n\ndata: {2}\n\n", "{pieces:?}");
        }
    }
}
