//! Reads numbers and slices from a message, and refuses one that is shorter than its own lengths say.

/// The message violates its format; the text says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

pub type Parsed<T> = Result<T, Malformed>;

/// Takes numbers and slices off the front of a message.
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

    /// A length, and as many bytes as it says.
    pub fn sized(&mut self) -> Parsed<Reader<'a>> {
        let length = self.u32()? as usize;
        self.take(length).map(Reader)
    }
}
