//! Lines out of raw process output, as a terminal would leave them.

/// Cuts a byte stream into lines; what a lone carriage return would have overwritten is dropped.
#[derive(Default)]
pub(super) struct LineBuffer {
    line: Vec<u8>,
    returned: bool,
}

impl LineBuffer {
    /// A line is cut here, so that binary output cannot grow one without end.
    const LONGEST: usize = 64 * 1024;

    pub(super) fn push(&mut self, bytes: &[u8], on: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() >= Self::LONGEST {
                on(&String::from_utf8_lossy(&self.line));
                self.line.clear();
            } else if self.returned && byte != b'\r' {
                self.line.clear();
            }
            self.returned = byte == b'\r';
            if byte != b'\n' && byte != b'\r' {
                self.line.push(byte);
            }
        }
    }

    pub(super) fn finish(&mut self, on: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            on(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}
