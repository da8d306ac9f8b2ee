//! Serves one connection until the client closes it or sends invalid data.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::budget::Share;
use crate::code::Code;
use crate::command::{self, Target, Work};
use crate::reader::Malformed;
use crate::server::Server;
use crate::store::Digest;
use crate::wire::{FRAME_HEADER, Frame, Message, bare_header, flag, frame, parse_frame_header};
use crate::{batch, info};

/// Maximum message size. Records are limited to 1 MiB, so only batches of writes come close.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;
/// Maximum size of an info request.
const MAX_INFO: u64 = 16 * 1024;
/// Memory is reserved as bytes arrive, not by the length in the header.
const STEP: usize = 64 * 1024;

/// Response to a login request of a server without security.
const NO_SECURITY: [u8; 16] = [0, Code::SecurityNotSupported as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Serves until the client closes the connection. An error of kind `InvalidData` describes invalid input of the
/// client.
pub fn serve(server: &Server, input: &mut impl Read, out: &mut impl Write, local: SocketAddr) -> io::Result<()> {
    let mut body = Vec::new();
    let mut answer = Vec::new();
    while let Some(header) = next_header(input)? {
        let (kind, length) = parse_frame_header(header).map_err(refused)?;
        let most = if kind == frame::INFO { MAX_INFO } else { MAX_MESSAGE };
        if length > most {
            return Err(refuse(&format!("a message of {length} bytes; {most} is the most")));
        }
        let mut share = Share::of(&server.budget);
        read_body(input, &mut body, length, &mut share)?;
        answer.clear();
        match kind {
            frame::INFO => Frame::write(&mut answer, kind, |out| info::answer(server, &body, local, out)),
            frame::SECURITY => Frame::write(&mut answer, kind, |out| out.extend_from_slice(&NO_SECURITY)),
            frame::COMPRESSED => only(&mut answer, 0, Code::EnterpriseOnly),
            _ => match Message::parse(&body) {
                Ok(message) if message.has(flag::BATCH) => batch::run(server, &message, &mut answer, out)?,
                Ok(message) => single(server, &message, &mut answer),
                Err(malformed) => {
                    only(&mut answer, 0, Code::Parameter);
                    out.write_all(&answer)?;
                    return Err(refused(malformed));
                }
            },
        }
        out.write_all(&answer)?;
        // Shrink the buffer after a large message.
        body.shrink_to(STEP);
        answer.shrink_to(STEP);
    }
    Ok(())
}

/// Answers a message about one record.
fn single(server: &Server, message: &Message, answer: &mut Vec<u8>) {
    let Some(namespace) = server.namespace(message.fields.namespace) else {
        return only(answer, 0, Code::Namespace);
    };
    match message.fields.digest.map(Digest::try_from) {
        Some(Ok(digest)) => Frame::write(answer, frame::MESSAGE, |out| {
            let target = Target { namespace, digest, now: server.clock.now(), index: 0 };
            command::run(&target, message, &mut Work::of_message(), out);
        }),
        Some(Err(_)) => only(answer, 0, Code::Parameter),
        // A message without digest is a query, whose responses end with a marker.
        None => only(answer, flag::LAST.bit, Code::UnsupportedFeature),
    }
}

/// Reads the next header; `None` if the client closed the connection between messages.
fn next_header(input: &mut impl Read) -> io::Result<Option<[u8; FRAME_HEADER]>> {
    let mut header = [0; FRAME_HEADER];
    if input.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[1..])?;
    Ok(Some(header))
}

fn read_body(input: &mut impl Read, body: &mut Vec<u8>, length: u64, share: &mut Share) -> io::Result<()> {
    body.clear();
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    while left > 0 {
        let step = left.min(STEP);
        if !share.grow(step) {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "no memory left for this message"));
        }
        let start = body.len();
        body.resize(start + step, 0);
        input.read_exact(&mut body[start..])?;
        left -= step;
    }
    Ok(())
}

/// Writes a response that consists only of a result code.
fn only(answer: &mut Vec<u8>, info3: u8, code: Code) {
    Frame::write(answer, frame::MESSAGE, |out| {
        out.extend_from_slice(&bare_header(info3, code));
    });
}

fn refused(malformed: Malformed) -> io::Error {
    refuse(malformed.0)
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
