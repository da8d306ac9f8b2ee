//! Reads numbers and slices from a message, and fails if the message is shorter than its lengths state.

/// Violation of the message format, with a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

pub type Parsed<T> = Result<T, Malformed>;

/// Reader that consumes a message from the front.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed("shorter than it says"))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("shorter than it says"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Parsed<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Parsed<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a length and that many bytes.
    pub fn sized(&mut self) -> Parsed<Reader<'a>> {
        let length = self.u32()? as usize;
        self.take(length).map(Reader)
    }
}
