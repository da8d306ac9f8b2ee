//! Cuts the output of programs into lines, as a terminal would show them.

use crate::limits;

/// Cuts a stream of bytes into lines. Text before a lone carriage return is dropped, because a
/// terminal would overwrite it. Of a line longer than [`limits::LINE`] only the start is kept.
#[derive(Debug, Default)]
pub struct LineBuffer {
    line: Vec<u8>,
    /// Bytes of this line that were not kept.
    left_out: u64,
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
                        self.left_out += 1;
                    }
                }
            }
        }
    }

    /// Passes on a last line that no line feed ended.
    pub fn finish(&mut self, on: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(on);
        }
    }

    fn end(&mut self, on: &mut dyn FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        match self.left_out {
            0 => on(&text),
            left_out => on(&format!("{text} [{left_out} more bytes of this line were left out]")),
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.line.clear();
        self.left_out = 0;
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
    fn a_line_that_never_ends_is_cut() {
        let part = [b'x'; 1000];
        let found = lines(&[&part[..]; 50]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(&"x".repeat(limits::LINE)));
        assert!(found[0].ends_with("x [33616 more bytes of this line were left out]"), "{}", &found[0][limits::LINE..]);
        // The next line is whole again.
        assert_eq!(lines(&[&[b'x'; 2 * limits::LINE], b"\nnext\n"])[1], "next");
    }

    #[test]
    fn a_progress_line_is_what_a_terminal_shows_last() {
        assert_eq!(lines(&[b"10%\r20", b"%\r", b"\n"]), ["20%"]);
        assert_eq!(lines(&[b"a\r\nb"]), ["a", "b"]);
    }
}
