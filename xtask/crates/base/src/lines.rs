//! Splits the output of programs into lines.

use crate::limits;

/// Splits a stream of bytes into lines. Text before a lone carriage return is dropped, because a terminal would
/// overwrite it. Lines longer than [`limits::LINE`] are truncated.
#[derive(Debug, Default)]
pub struct LineBuffer {
    line: Vec<u8>,
    /// Number of bytes of this line that were dropped.
    omitted: u64,
    returned: bool,
}

impl LineBuffer {
    pub fn push(&mut self, bytes: &[u8], on: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end(on),
                b'\r' => self.returned = true,
                _ => {
                    if self.returned {
                        self.clear();
                    }
                    if self.line.len() < limits::LINE {
                        self.line.push(byte);
                    } else {
                        self.omitted += 1;
                    }
                }
            }
        }
    }

    /// Emits the last line if it does not end with a line feed.
    pub fn finish(&mut self, on: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(on);
        }
    }

    fn end(&mut self, on: &mut dyn FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        match self.omitted {
            0 => on(&text),
            omitted => on(&format!("{text} [{omitted} bytes omitted]")),
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.line.clear();
        self.omitted = 0;
        self.returned = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for part in parts {
            buffer.push(part, &mut |line| lines.push(line.to_owned()));
        }
        buffer.finish(&mut |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn long_lines_are_truncated() {
        let part = [b'x'; 1000];
        let found = lines(&[&part[..]; 50]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(&"x".repeat(limits::LINE)));
        assert!(found[0].ends_with("x [33616 bytes omitted]"), "{}", &found[0][limits::LINE..]);
        // The next line is complete.
        assert_eq!(lines(&[&[b'x'; 2 * limits::LINE], b"\nnext\n"])[1], "next");
    }

    #[test]
    fn only_the_last_state_of_a_progress_line_is_kept() {
        assert_eq!(lines(&[b"10%\r20", b"%\r", b"\n"]), ["20%"]);
        assert_eq!(lines(&[b"a\r\nb"]), ["a", "b"]);
        let parts: [&[u8]; 7] = [b"on", b"e\r", b"\n10%\r50%", b"\r99%\r\n", b"\n\xc3\xa4", b"x\r", b"\xff"];
        assert_eq!(lines(&parts), ["one", "99%", "", "\u{fffd}"]);
    }
}
