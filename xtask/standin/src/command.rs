//! Reads, writes and removes a single record, with the same checks in the same order as a server.

use std::collections::HashMap;

use crate::code::Code;
use crate::draft::Draft;
use crate::store::{Digest, Entry, Namespace, Record};
use crate::value::{Value, particle};
use crate::wire::{MAX_OPS, Message, Op, Reply, flag, op};

/// Default of the server setting `max-record-size`.
const MAX_RECORD: usize = 1024 * 1024;
/// Maximum size of a response about one record. It is reached only by reading a large bin repeatedly.
const MAX_REPLY: usize = 2 * MAX_RECORD;
const MAX_BINS: usize = 0x7fff;
const MAX_BIN_NAME: usize = 15;
const MAX_SET_NAME: usize = 63;
const MAX_TTL: u32 = 10 * 365 * 24 * 3600;

/// Special values of a TTL. A write with 0 uses the namespace's default, which is never.
const TTL_DEFAULT: u32 = 0;
const TTL_NEVER: u32 = u32::MAX;
const TTL_KEEP: u32 = u32::MAX - 1;

/// Record and time of a message.
pub struct Target<'a> {
    pub namespace: &'a Namespace,
    pub digest: Digest,
    pub now: u32,
    /// Row number in a batch.
    pub index: u32,
}

/// Remaining budget of one message. An operation, a copied bin, and each 64 joined bytes cost one step.
///
/// Without a limit, a batch of 5,000 rows that repeat 32,767 operations would cause 164 million operations with a
/// message of 620 KB.
pub struct Work(usize);

impl Work {
    pub fn of_message() -> Work {
        Work(4 << 20)
    }

    fn take(&mut self, steps: usize) -> Result<(), Code> {
        match self.0.checked_sub(steps) {
            Some(left) => self.0 = left,
            None => {
                self.0 = 0;
                return Err(Code::BatchMaxRequests);
            }
        }
        Ok(())
    }
}

/// Executes a message and writes the response. Returns the result code of the response.
pub fn run(target: &Target, message: &Message, work: &mut Work, out: &mut Vec<u8>) -> Code {
    let mut reply = Reply::new(out, target.index);
    let now = target.now;
    let done = supported(message).and_then(|()| work.take(1 + message.ops.len())).and_then(|()| {
        let mut entry = target.namespace.open(target.digest);
        if !message.has(flag::WRITE) {
            work.take(entry.live(now).map_or(0, |record| record.bins.len()))?;
            read(&entry, message, now, &mut reply)
        } else if message.has(flag::DELETE) {
            delete(&mut entry, message, now)
        } else {
            work.take(entry.live(now).map_or(0, |record| record.bins.len()))?;
            write(&mut entry, message, &mut Writing { now, work, reply: &mut reply })
        }
    });
    match done {
        Ok(seen) => reply.finish(Code::Ok, seen.generation, seen.void_time),
        Err(code) => reply.finish(code, 0, 0),
    }
}

/// Context of a write operation.
struct Writing<'a, 'r> {
    now: u32,
    work: &'a mut Work,
    reply: &'a mut Reply<'r>,
}

/// Record metadata in a response.
struct Seen {
    generation: u16,
    void_time: u32,
}

impl Seen {
    const NOTHING: Seen = Seen { generation: 0, void_time: 0 };

    fn of(record: &Record) -> Seen {
        Seen { generation: record.generation, void_time: record.void_time }
    }
}

fn supported(message: &Message) -> Result<(), Code> {
    if message.fields.transaction || message.has(flag::TRANSACTION) {
        return Err(Code::EnterpriseOnly);
    }
    if message.fields.unsupported {
        return Err(Code::UnsupportedFeature);
    }
    if !message.has(flag::READ) && !message.has(flag::WRITE) {
        return Err(Code::Parameter);
    }
    Ok(())
}

fn read(entry: &Entry, message: &Message, now: u32, reply: &mut Reply) -> Result<Seen, Code> {
    let record = entry.live(now).ok_or(Code::NotFound)?;
    same_set(record, message.fields.set)?;
    // Reads that extend a record's life encode this in the TTL, as a percentage.
    match message.ttl {
        TTL_DEFAULT | TTL_NEVER => {}
        _ if record.void_time == 0 => {}
        1..=100 => return Err(Code::UnsupportedFeature),
        _ => return Err(Code::Parameter),
    }
    same_key(record, message.fields.key)?;
    if message.has(flag::NO_BINS) {
        return Ok(Seen::of(record));
    }
    if message.has(flag::GET_ALL) {
        record.bins.iter().for_each(|bin| reply.op(op::READ, &bin.name, Some(&bin.value)));
        return Ok(Seen::of(record));
    }
    if message.ops.is_empty() || message.ops.len() > MAX_OPS {
        return Err(Code::Parameter);
    }
    let by_name: HashMap<&[u8], &Value> = record.bins.iter().map(|bin| (&*bin.name, &bin.value)).collect();
    for op in &message.ops {
        valid_name(op.name)?;
        read_bin(by_name.get(op.name).copied(), op, message, reply)?;
    }
    Ok(Seen::of(record))
}

/// Adds a bin to the response. Missing bins are omitted, unless the client requests a result for each operation.
fn read_bin(value: Option<&Value>, op: &Op, message: &Message, reply: &mut Reply) -> Result<(), Code> {
    known(op.code)?;
    if op.code != op::READ {
        return Err(Code::Parameter);
    }
    if value.is_some() || message.has(flag::RESPOND_ALL) {
        reply.op(op.code, op.name, value);
    }
    if reply.len() > MAX_REPLY { Err(Code::Parameter) } else { Ok(()) }
}

fn delete(entry: &mut Entry, message: &Message, now: u32) -> Result<Seen, Code> {
    if message.has(flag::DURABLE_DELETE) {
        return Err(Code::EnterpriseOnly);
    }
    let record = entry.live(now).ok_or(Code::NotFound)?;
    same_set(record, message.fields.set)?;
    same_generation(record.generation, message)?;
    same_key(record, message.fields.key)?;
    entry.remove();
    Ok(Seen::NOTHING)
}

fn write(entry: &mut Entry, message: &Message, writing: &mut Writing) -> Result<Seen, Code> {
    let now = writing.now;
    let replace = message.has(flag::CREATE_OR_REPLACE) || message.has(flag::REPLACE_ONLY);
    check_ops(message, replace)?;
    let touches = message.ops.iter().any(|op| op.code == op::TOUCH);
    let old = entry.live(now);
    if old.is_none() && (touches || message.has(flag::UPDATE_ONLY) || message.has(flag::REPLACE_ONLY)) {
        return Err(Code::NotFound);
    }
    if old.is_some() && message.has(flag::CREATE_ONLY) {
        return Err(Code::RecordExists);
    }
    same_generation(old.map_or(0, |record| record.generation), message)?;
    let existed = old.is_some();
    let (mut record, mut bins) = match old {
        Some(record) => {
            if *record.set != *message.fields.set.unwrap_or_default() {
                return Err(Code::Parameter);
            }
            same_key(record, message.fields.key)?;
            (record.without_bins(), Draft::of(&record.bins))
        }
        None => (created(message)?, Draft::default()),
    };
    if record.key.is_none() {
        record.key = message.fields.key.map(checked_key).transpose()?;
    }
    record.void_time = void_time(message.ttl, record.void_time, existed, now)?;
    record.generation = record.generation.checked_add(1).unwrap_or(1);
    let had_bins = !bins.is_empty();
    if replace {
        bins.clear();
    }
    let seen = Seen::of(&record);
    for op in &message.ops {
        apply(&mut bins, op, message, writing)?;
    }
    // A record without bins is removed.
    if bins.is_empty() {
        if !had_bins {
            return Err(Code::NotFound);
        }
        if message.has(flag::DURABLE_DELETE) {
            return Err(Code::EnterpriseOnly);
        }
        entry.remove();
        return Ok(Seen::NOTHING);
    }
    if bins.len() > MAX_BINS {
        return Err(Code::Parameter);
    }
    record.bins = bins.into_bins();
    if record.stored_size() > MAX_RECORD {
        return Err(Code::RecordTooBig);
    }
    if entry.replace(record) { Ok(seen) } else { Err(Code::OutOfSpace) }
}

/// Checks the operations before the record is accessed.
fn check_ops(message: &Message, replace: bool) -> Result<(), Code> {
    if message.ops.is_empty() || message.ops.len() > MAX_OPS {
        return Err(Code::Parameter);
    }
    let reads_all = |op: &Op| is_read_all(op, message);
    let mut all = 0;
    for op in &message.ops {
        known(op.code)?;
        let changes = match op.code {
            op::TOUCH | op::INCREMENT | op::APPEND | op::PREPEND | op::DELETE_ALL => true,
            op::WRITE => op.particle == particle::NULL,
            _ => false,
        };
        if op.code != op::TOUCH {
            valid_name(op.name)?;
        }
        if replace && changes {
            return Err(Code::Parameter);
        }
        all += usize::from(reads_all(op));
    }
    let reads = message.ops.iter().any(|op| op.code == op::READ);
    let reads_some = message.ops.iter().any(|op| op.code == op::READ && !reads_all(op));
    let contradictory = (reads && !message.has(flag::READ))
        || all > 1
        || (all == 1 && (reads_some || message.has(flag::RESPOND_ALL)))
        || (all == 0 && message.has(flag::GET_ALL));
    if contradictory { Err(Code::Parameter) } else { Ok(()) }
}

/// Returns whether the operation reads all bins.
fn is_read_all(op: &Op, message: &Message) -> bool {
    op.code == op::READ && op.name.is_empty() && message.has(flag::GET_ALL)
}

fn apply(bins: &mut Draft, op: &Op, message: &Message, writing: &mut Writing) -> Result<(), Code> {
    let reply = &mut *writing.reply;
    match op.code {
        op::TOUCH => return Ok(()),
        op::READ if is_read_all(op, message) => {
            bins.iter().for_each(|bin| reply.op(op::READ, &bin.name, Some(&bin.value)));
            return Ok(());
        }
        op::READ => return read_bin(bins.get(op.name), op, message, reply),
        op::DELETE_ALL => bins.clear(),
        op::WRITE if op.particle == particle::NULL => bins.remove(op.name),
        op::WRITE => bins.put(op.name, checked_value(op)?),
        _ => modify(bins, op, writing.work)?,
    }
    if message.has(flag::RESPOND_ALL) {
        writing.reply.op(op.code, op.name, None);
    }
    Ok(())
}

/// Modifies a bin, or writes it if it does not exist.
fn modify(bins: &mut Draft, op: &Op, work: &mut Work) -> Result<(), Code> {
    let Some(value) = bins.get_mut(op.name) else {
        bins.put(op.name, checked_value(op)?);
        return Ok(());
    };
    work.take((value.bytes().len() + op.value.len()) / 64)?;
    match op.code {
        op::INCREMENT => value.increment(op.particle, op.value),
        op::APPEND => value.append(op.particle, op.value),
        op::PREPEND => value.prepend(op.particle, op.value),
        _ => Err(Code::Parameter),
    }?;
    // Repeated joins could otherwise exhaust memory before the size of the record is checked.
    if value.bytes().len() > MAX_RECORD { Err(Code::RecordTooBig) } else { Ok(()) }
}

/// Parses a value. Values larger than any record are rejected first, because sorting a map takes memory.
fn checked_value(op: &Op) -> Result<Value, Code> {
    if op.value.len() > MAX_RECORD { Err(Code::RecordTooBig) } else { Value::from_client(op.particle, op.value) }
}

fn known(code: u8) -> Result<(), Code> {
    match code {
        op::READ | op::WRITE | op::INCREMENT | op::APPEND | op::PREPEND | op::TOUCH | op::DELETE_ALL => Ok(()),
        op::LIST_OR_MAP_READ
        | op::LIST_OR_MAP_MODIFY
        | op::EXPRESSION_READ
        | op::EXPRESSION_MODIFY
        | op::BITS_READ
        | op::BITS_MODIFY
        | op::HLL_READ
        | op::HLL_MODIFY => Err(Code::UnsupportedFeature),
        _ => Err(Code::Parameter),
    }
}

fn created(message: &Message) -> Result<Record, Code> {
    let set = message.fields.set.unwrap_or_default();
    if set.len() > MAX_SET_NAME {
        return Err(Code::Parameter);
    }
    Ok(Record { set: set.into(), ..Record::default() })
}

fn void_time(ttl: u32, before: u32, existed: bool, now: u32) -> Result<u32, Code> {
    match ttl {
        TTL_DEFAULT | TTL_NEVER => Ok(0),
        TTL_KEEP => Ok(if existed { before } else { 0 }),
        1..=MAX_TTL => Ok(now.saturating_add(ttl)),
        _ => Err(Code::Parameter),
    }
}

fn valid_name(name: &[u8]) -> Result<(), Code> {
    if name.len() > MAX_BIN_NAME || name.contains(&0) { Err(Code::BinName) } else { Ok(()) }
}

/// Compares the set, which reads and removals may omit.
fn same_set(record: &Record, set: Option<&[u8]>) -> Result<(), Code> {
    if set.is_none_or(|set| *set == *record.set) { Ok(()) } else { Err(Code::Parameter) }
}

fn same_key(record: &Record, key: Option<&[u8]>) -> Result<(), Code> {
    match (&record.key, key) {
        (Some(kept), Some(sent)) if **kept != *sent => Err(Code::KeyMismatch),
        _ => Ok(()),
    }
}

/// Parses a key, which consists of a particle type and bytes.
fn checked_key(key: &[u8]) -> Result<Box<[u8]>, Code> {
    let sound = match key.first() {
        Some(&particle::INTEGER) => key.len() == 9,
        Some(_) => true,
        None => false,
    };
    if sound { Ok(key.into()) } else { Err(Code::UnsupportedFeature) }
}

fn same_generation(generation: u16, message: &Message) -> Result<(), Code> {
    let generation = u32::from(generation);
    let right = if message.has(flag::GENERATION) {
        message.generation == generation
    } else {
        !message.has(flag::GENERATION_GREATER) || message.generation > generation
    };
    if right { Ok(()) } else { Err(Code::Generation) }
}
