//! Batch requests: rows that are executed in order and answered in frames.
//!
//! A row is `index, digest, flags`, followed by nothing, which repeats the previous row, or by its own header, fields
//! and operations.
//! header, fields and operations.

use std::io::{self, Write};

use crate::code::Code;
use crate::command::{self, Target, Work};
use crate::reader::{Malformed, Parsed, Reader};
use crate::server::Server;
use crate::store::Namespace;
use crate::wire::{FRAME_HEADER, Fields, Frame, Message, Op, bare_header, flag, frame};

/// Default of the server setting `batch-max-requests`.
const MAX_ROWS: u32 = 5000;
/// Responses are sent once this many bytes are collected, so that no batch is held in memory as a whole.
const ENOUGH: usize = 128 * 1024;

/// Flags of the whole batch, for the case that a row fails.
mod whole {
    /// Rows report their own errors, and the batch continues. Without this flag, the first error is the result of the
    /// whole batch.
    pub const REPORT_ALL: u8 = 1 << 2;
    /// Without `REPORT_ALL`: the frame with the failed row is the last one sent.
    pub const REPORT_FIRST: u8 = 1 << 3;
}

/// Flags of a row.
mod row {
    pub const REPEAT: u8 = 1;
    pub const MORE_FLAGS: u8 = 1 << 1;
    pub const GENERATION: u8 = 1 << 2;
    pub const TTL: u8 = 1 << 3;
    pub const FOURTH_FLAGS: u8 = 1 << 4;
}

/// Reason why a batch ends before its last row.
enum Stop {
    Refused(Code),
    Io(io::Error),
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Stop {
        Stop::Refused(Code::Parameter)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// Executes a batch. The last frame remains in `answer`; earlier frames are written to `out`.
pub fn run(server: &Server, parent: &Message, answer: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
    let frame = Frame::begin(answer);
    let send_if_full = |answer: &mut Vec<u8>| {
        let full = answer.len() >= ENOUGH;
        if full {
            frame.end(answer, frame::MESSAGE);
            out.write_all(answer)?;
            answer.truncate(FRAME_HEADER);
        }
        Ok(full)
    };
    let code = match rows(server, parent, answer, send_if_full) {
        Ok(code) => code,
        Err(Stop::Refused(code)) => {
            answer.truncate(FRAME_HEADER);
            code
        }
        Err(Stop::Io(error)) => return Err(error),
    };
    answer.extend_from_slice(&bare_header(flag::LAST.bit, code));
    frame.end(answer, frame::MESSAGE);
    Ok(())
}

/// Executes all rows and returns the result code of the batch.
fn rows(
    server: &Server,
    parent: &Message,
    answer: &mut Vec<u8>,
    mut send_if_full: impl FnMut(&mut Vec<u8>) -> io::Result<bool>,
) -> Result<Code, Stop> {
    let mut reader = Reader(parent.fields.batch.unwrap_or_default());
    let (count, flags) = (reader.u32()?, reader.u8()?);
    let unsupported = parent.fields.unsupported.then_some(Code::UnsupportedFeature);
    let too_many = (count > MAX_ROWS).then_some(Code::BatchMaxRequests);
    let none = (count == 0).then_some(Code::Parameter);
    if let Some(code) = none.or(too_many).or(unsupported) {
        return Err(Stop::Refused(code));
    }
    let now = server.clock.now();
    let mut work = Work::of_message();
    let mut outcome = Code::Ok;
    // Rows after the failure of the whole batch are executed without a response.
    let mut silent = false;
    let mut before: Option<(Message, &Namespace)> = None;
    for _ in 0..count {
        let (index, digest, flags_of_row) = start(&mut reader)?;
        let repeats = flags_of_row & row::REPEAT != 0;
        if !repeats {
            let message = message(&mut reader, flags_of_row, parent)?;
            let namespace = server.namespace(message.fields.namespace).ok_or(Malformed("no such namespace"))?;
            before = Some((message, namespace));
        }
        let (message, namespace) = before.as_ref().ok_or(Malformed("no row to repeat"))?;
        if repeats && message.fields.key.is_some() {
            return Err(Malformed("a key belongs to one row").into());
        }
        let target = Target { namespace, digest, now, index };
        let code = command::run(&target, message, &mut work, answer);
        if flags & whole::REPORT_ALL == 0 && !matches!(code, Code::Ok | Code::NotFound) {
            outcome = code;
            silent |= flags & whole::REPORT_FIRST == 0;
        }
        if silent {
            answer.truncate(FRAME_HEADER);
        } else {
            silent = send_if_full(answer)? && outcome != Code::Ok;
        }
    }
    Ok(outcome)
}

fn start(reader: &mut Reader) -> Parsed<(u32, [u8; 20], u8)> {
    Ok((reader.u32()?, reader.array()?, reader.u8()?))
}

/// Parses a row that does not repeat the previous one.
fn message<'a>(reader: &mut Reader<'a>, flags: u8, parent: &Message) -> Parsed<Message<'a>> {
    let has = |bit| flags & bit != 0;
    let mut info = [reader.u8()?, 0, parent.info[2], 0];
    if has(row::MORE_FLAGS) {
        [info[1], info[2]] = reader.array()?;
    }
    if has(row::FOURTH_FLAGS) {
        info[3] = reader.u8()?;
    }
    let generation = if has(row::GENERATION) { reader.u16()?.into() } else { 0 };
    let ttl = if has(row::TTL) { reader.u32()? } else { 0 };
    let (n_fields, n_ops) = (reader.u16()?, reader.u16()?);
    // Older clients send a count of 0 and the namespace nevertheless.
    let fields = Fields::parse(reader, n_fields.max(1))?;
    if fields.namespace.is_none() {
        return Err(Malformed("a row without a namespace"));
    }
    let ops = Op::parse_all(reader, n_ops)?;
    Ok(Message { info, generation, ttl, fields, ops })
}
