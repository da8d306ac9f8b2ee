//! Parses and formats messages. Lengths in messages are not trusted.
//!
//! A frame is `version, type, 48-bit length`. It contains a record message: a 22-byte header, then fields (`length,
//! type, data`), then operations (`length, op, particle type, flags, name length, name, value`).

use crate::code::Code;
use crate::reader::{Malformed, Parsed, Reader};
use crate::value::Value;

pub const VERSION: u8 = 2;
pub const FRAME_HEADER: usize = 8;
pub const MESSAGE_HEADER: usize = 22;
/// Maximum number of operations in a message.
pub const MAX_OPS: usize = 32 * 1024;

/// Frame types.
pub mod frame {
    pub const INFO: u8 = 1;
    pub const SECURITY: u8 = 2;
    pub const MESSAGE: u8 = 3;
    pub const COMPRESSED: u8 = 4;
}

/// Bit in one of the four flag bytes.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    byte: usize,
    pub bit: u8,
}

/// Flags of messages.
pub mod flag {
    use super::Flag;

    const fn flag(byte: usize, bit: u8) -> Flag {
        Flag { byte, bit }
    }

    pub const READ: Flag = flag(0, 1);
    pub const GET_ALL: Flag = flag(0, 1 << 1);
    pub const BATCH: Flag = flag(0, 1 << 3);
    pub const NO_BINS: Flag = flag(0, 1 << 5);

    pub const WRITE: Flag = flag(1, 1);
    pub const DELETE: Flag = flag(1, 1 << 1);
    pub const GENERATION: Flag = flag(1, 1 << 2);
    pub const GENERATION_GREATER: Flag = flag(1, 1 << 3);
    pub const DURABLE_DELETE: Flag = flag(1, 1 << 4);
    pub const CREATE_ONLY: Flag = flag(1, 1 << 5);
    pub const RESPOND_ALL: Flag = flag(1, 1 << 7);

    /// In responses: the last message.
    pub const LAST: Flag = flag(2, 1);
    pub const UPDATE_ONLY: Flag = flag(2, 1 << 3);
    pub const CREATE_OR_REPLACE: Flag = flag(2, 1 << 4);
    pub const REPLACE_ONLY: Flag = flag(2, 1 << 5);

    /// Flags of multi-record transactions.
    pub const TRANSACTION: Flag = flag(3, 0b1_0111);
}

/// Operations on bins.
pub mod op {
    pub const READ: u8 = 1;
    pub const WRITE: u8 = 2;
    pub const LIST_OR_MAP_READ: u8 = 3;
    pub const LIST_OR_MAP_MODIFY: u8 = 4;
    pub const INCREMENT: u8 = 5;
    pub const EXPRESSION_READ: u8 = 7;
    pub const EXPRESSION_MODIFY: u8 = 8;
    pub const APPEND: u8 = 9;
    pub const PREPEND: u8 = 10;
    pub const TOUCH: u8 = 11;
    pub const BITS_READ: u8 = 12;
    pub const BITS_MODIFY: u8 = 13;
    pub const DELETE_ALL: u8 = 14;
    pub const HLL_READ: u8 = 15;
    pub const HLL_MODIFY: u8 = 16;
}

fn frame_header(kind: u8, length: usize) -> [u8; FRAME_HEADER] {
    let mut header = (length as u64).to_be_bytes();
    header[0] = VERSION;
    header[1] = kind;
    header
}

/// Frame at the end of a buffer, whose header is written after its content.
pub struct Frame {
    start: usize,
}

impl Frame {
    pub fn begin(out: &mut Vec<u8>) -> Frame {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        Frame { start }
    }

    pub fn end(&self, out: &mut [u8], kind: u8) {
        let content = self.start + FRAME_HEADER;
        let header = frame_header(kind, out.len() - content);
        out[self.start..content].copy_from_slice(&header);
    }

    pub fn write(out: &mut Vec<u8>, kind: u8, content: impl FnOnce(&mut Vec<u8>)) {
        let frame = Frame::begin(out);
        content(out);
        frame.end(out, kind);
    }
}

/// Parses the type and length of a frame.
pub fn parse_frame_header(header: [u8; FRAME_HEADER]) -> Parsed<(u8, u64)> {
    let kind = header[1];
    // Security messages have always used version 0.
    if header[0] != VERSION && !(header[0] == 0 && kind == frame::SECURITY) {
        return Err(Malformed("unknown protocol version"));
    }
    if !(frame::INFO..=frame::COMPRESSED).contains(&kind) {
        return Err(Malformed("unknown type of message"));
    }
    let mut length = header;
    length[..2].fill(0);
    Ok((kind, u64::from_be_bytes(length)))
}

/// Supported fields; others are ignored, like a server does.
#[derive(Debug, Default, Clone)]
pub struct Fields<'a> {
    pub namespace: Option<&'a [u8]>,
    pub set: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    pub digest: Option<&'a [u8]>,
    pub batch: Option<&'a [u8]>,
    /// Whether the request uses a filter expression or UDF, which are not supported.
    pub unsupported: bool,
    /// Whether the request is part of a multi-record transaction, which only the Enterprise Edition supports.
    pub transaction: bool,
}

impl<'a> Fields<'a> {
    pub fn parse(reader: &mut Reader<'a>, count: u16) -> Parsed<Fields<'a>> {
        let mut fields = Fields::default();
        for _ in 0..count {
            let mut field = reader.sized()?;
            let kind = field.u8()?;
            match kind {
                0 => fields.namespace = Some(field.0),
                1 => fields.set = Some(field.0).filter(|name| !name.is_empty()),
                2 => fields.key = Some(field.0),
                4 => fields.digest = Some(field.0),
                5 => fields.transaction = true,
                30..=33 | 43 => fields.unsupported = true,
                41 | 42 => fields.batch = Some(field.0),
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Operation on one bin.
#[derive(Debug, Clone)]
pub struct Op<'a> {
    pub code: u8,
    pub particle: u8,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Op<'a> {
    pub fn parse_all(reader: &mut Reader<'a>, count: u16) -> Parsed<Vec<Op<'a>>> {
        // Do not preallocate by the count, which is not trusted.
        let mut ops = Vec::new();
        for _ in 0..count {
            let mut op = reader.sized()?;
            let [code, particle, flags, name_length] = op.array()?;
            let name = op.take(name_length.into())?;
            if flags & 1 != 0 {
                op.take(8)?; // a time of last update, which only replication sends
            }
            ops.push(Op { code, particle, name, value: op.0 });
        }
        Ok(ops)
    }
}

/// Request about one record, or the parent of a batch.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    pub info: [u8; 4],
    pub generation: u32,
    pub ttl: u32,
    pub fields: Fields<'a>,
    pub ops: Vec<Op<'a>>,
}

impl<'a> Message<'a> {
    pub fn parse(body: &'a [u8]) -> Parsed<Message<'a>> {
        let mut reader = Reader(body);
        let _header_length = reader.u8()?;
        let info = reader.array()?;
        let _result = reader.u8()?;
        let (generation, ttl, _timeout) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (n_fields, n_ops) = (reader.u16()?, reader.u16()?);
        let fields = Fields::parse(&mut reader, n_fields)?;
        // A batch contains its rows in a field; the rest is ignored.
        if has(info, flag::BATCH) {
            return Ok(Message { info, generation, ttl, fields, ops: Vec::new() });
        }
        let ops = Op::parse_all(&mut reader, n_ops)?;
        if !reader.0.is_empty() {
            return Err(Malformed("bytes behind the last operation"));
        }
        Ok(Message { info, generation, ttl, fields, ops })
    }

    pub fn has(&self, flag: Flag) -> bool {
        has(self.info, flag)
    }
}

fn has(info: [u8; 4], flag: Flag) -> bool {
    info[flag.byte] & flag.bit != 0
}

/// Response about one record, written to the end of `out`.
pub struct Reply<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    index: u32,
    ops: u16,
}

impl<'b> Reply<'b> {
    /// Starts a response. `index` is the row of a batch, otherwise 0.
    pub fn new(out: &'b mut Vec<u8>, index: u32) -> Reply<'b> {
        let start = out.len();
        out.resize(start + MESSAGE_HEADER, 0);
        Reply { out, start, index, ops: 0 }
    }

    /// Adds the result of an operation. Without a value, the bin is listed without content.
    pub fn op(&mut self, code: u8, name: &[u8], value: Option<&Value>) {
        let (particle, bytes) = value.map_or((0, &[] as &[u8]), |value| (value.particle(), value.bytes()));
        let length = u32::try_from(4 + name.len() + bytes.len()).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&[code, particle, 0, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(bytes);
        self.ops += 1;
    }

    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Completes the response. In case of an error, earlier results are discarded.
    pub fn finish(self, code: Code, generation: u16, void_time: u32) -> Code {
        let mut ops = self.ops;
        if code != Code::Ok {
            self.out.truncate(self.start + MESSAGE_HEADER);
            ops = 0;
        }
        let header = MessageHeader { info3: 0, code, generation, void_time, index: self.index, ops }.to_bytes();
        self.out[self.start..self.start + MESSAGE_HEADER].copy_from_slice(&header);
        code
    }
}

/// Header of a response.
struct MessageHeader {
    info3: u8,
    code: Code,
    generation: u16,
    void_time: u32,
    /// Row of a batch, otherwise 0.
    index: u32,
    /// Number of operations that follow.
    ops: u16,
}

impl MessageHeader {
    fn to_bytes(&self) -> [u8; MESSAGE_HEADER] {
        let mut header = [0; MESSAGE_HEADER];
        header[0] = MESSAGE_HEADER as u8;
        header[3] = self.info3;
        header[5] = self.code as u8;
        header[6..10].copy_from_slice(&u32::from(self.generation).to_be_bytes());
        header[10..14].copy_from_slice(&self.void_time.to_be_bytes());
        header[14..18].copy_from_slice(&self.index.to_be_bytes());
        header[20..22].copy_from_slice(&self.ops.to_be_bytes());
        header
    }
}

/// Returns a header without a record, for an error or the end of a batch.
pub fn bare_header(info3: u8, code: Code) -> [u8; MESSAGE_HEADER] {
    MessageHeader { info3, code, generation: 0, void_time: 0, index: 0, ops: 0 }.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_header_keeps_type_and_length() {
        assert_eq!(parse_frame_header(frame_header(frame::MESSAGE, 0x0001_0203)), Ok((3, 0x0001_0203)));
    }

    #[test]
    fn other_versions_and_types_are_refused() {
        assert!(parse_frame_header([3, 1, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(parse_frame_header([2, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(parse_frame_header([2, 5, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(parse_frame_header([0, 2, 0, 0, 0, 0, 0, 16]).is_ok());
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let mut body = vec![0; MESSAGE_HEADER];
        body[19] = 1; // one field, and no byte of it
        assert_eq!(Message::parse(&body).unwrap_err(), Malformed("shorter than it says"));
        body.extend([0, 0, 0, 9, 0, b't']); // nine bytes, it says
        assert!(Message::parse(&body).is_err());
        body[25] = 2;
        assert_eq!(Message::parse(&body).unwrap().fields.namespace, Some(&b"t"[..]));
        body.push(0);
        assert_eq!(Message::parse(&body).unwrap_err(), Malformed("bytes behind the last operation"));
    }

    #[test]
    fn an_error_takes_back_what_was_answered() {
        let value = Value::from_client(1, &7u64.to_be_bytes()).unwrap();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, 3);
        reply.op(op::READ, b"n", Some(&value));
        reply.finish(Code::Ok, 1, 2);
        let whole = out.len();
        assert_eq!(whole, MESSAGE_HEADER + 4 + 4 + 1 + 8);
        let mut reply = Reply::new(&mut out, 4);
        reply.op(op::READ, b"n", Some(&value));
        reply.finish(Code::NotFound, 0, 0);
        assert_eq!(out.len(), whole + MESSAGE_HEADER);
        assert_eq!(out[whole + 5], 2);
        assert_eq!(out[whole + 21], 0);
    }
}
