//! Validates and normalises lists and maps in MessagePack; maps are sorted by key, like on a server.
//!
//! Strings have their particle type as the first byte. An extension as the first element is not an element but
//! specifies the ordering of the collection; in a map, it is followed by nil.

use std::cmp::Ordering;

use crate::reader::{Malformed, Parsed, Reader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    List,
    Map,
}

/// Maximum nesting depth, so that a message cannot overflow the stack.
const MAX_DEPTH: u16 = 128;

const MAP_ORDERED_BY_KEY: u8 = 1;
const MAP_ORDER: u8 = 3;
const LIST_ORDER: u8 = 1;

const STRING: u8 = 3;
const BLOB: u8 = 4;

/// Returns the normalised collection; `None` if it is invalid or of another kind.
pub fn normal(bytes: &[u8], kind: Kind) -> Option<Box<[u8]>> {
    let mut reader = Reader(bytes);
    let mut out = Vec::with_capacity(bytes.len());
    match (kind, bytes.first()?) {
        (Kind::List, 0x90..=0x9f | 0xdc | 0xdd) | (Kind::Map, 0x80..=0x8f | 0xde | 0xdf) => {}
        _ => return None,
    }
    element(&mut reader, &mut out, 0).ok()?;
    reader.0.is_empty().then(|| out.into())
}

/// Copies one element with its content.
fn element(reader: &mut Reader, out: &mut Vec<u8>, depth: u16) -> Parsed<()> {
    let all = reader.0;
    let size = match reader.u8()? {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
        0xcc | 0xd0 => 1,
        0xcd | 0xd1 => 2,
        0xca | 0xce | 0xd2 => 4,
        0xcb | 0xcf | 0xd3 => 8,
        head @ 0xa0..=0xbf => usize::from(head & 0x1f),
        0xc4 | 0xd9 => reader.u8()?.into(),
        0xc5 | 0xda => reader.u16()?.into(),
        0xc6 | 0xdb => reader.u32()? as usize,
        head @ 0x90..=0x9f => return list(reader, out, u32::from(head & 0xf), depth),
        0xdc => return reader.u16().and_then(|count| list(reader, out, count.into(), depth)),
        0xdd => return reader.u32().and_then(|count| list(reader, out, count, depth)),
        head @ 0x80..=0x8f => return map(reader, out, u32::from(head & 0xf), depth),
        0xde => return reader.u16().and_then(|count| map(reader, out, count.into(), depth)),
        0xdf => return reader.u32().and_then(|count| map(reader, out, count, depth)),
        // An extension not at the front, or the byte that MessagePack does not use.
        0xc7..=0xc9 | 0xd4..=0xd8 | 0xc1 => return Err(Malformed("not a value that can be kept")),
    };
    reader.take(size)?;
    out.extend_from_slice(&all[..all.len() - reader.0.len()]);
    Ok(())
}

/// Parses the ordering from an extension at the front.
fn order(reader: &mut Reader) -> Parsed<Option<u8>> {
    let mut ahead = *reader;
    let size = match ahead.u8() {
        Ok(0xc7) => ahead.u8()?.into(),
        Ok(0xc8) => ahead.u16()?.into(),
        Ok(0xc9) => ahead.u32()? as usize,
        Ok(head @ 0xd4..=0xd8) => 1 << (head - 0xd4),
        _ => return Ok(None),
    };
    let kind = ahead.u8()?;
    ahead.take(size)?;
    *reader = ahead;
    Ok(Some(kind))
}

fn deeper(depth: u16) -> Parsed<u16> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(Malformed("nested too deep")) }
}

fn list(reader: &mut Reader, out: &mut Vec<u8>, count: u32, depth: u16) -> Parsed<()> {
    let depth = deeper(depth)?;
    let asked = if count == 0 { None } else { order(reader)? };
    let elements = if asked.is_some() { count - 1 } else { count };
    let order = asked.unwrap_or(0) & LIST_ORDER;
    header(out, elements + u32::from(order != 0), [0x90, 0xdc, 0xdd]);
    if order != 0 {
        out.extend_from_slice(&[0xc7, 0, order]);
    }
    (0..elements).try_for_each(|_| element(reader, out, depth))
}

fn map(reader: &mut Reader, out: &mut Vec<u8>, count: u32, depth: u16) -> Parsed<()> {
    let depth = deeper(depth)?;
    let asked = if count == 0 { None } else { order(reader)? };
    if asked.is_some() {
        element(reader, &mut Vec::new(), depth)?; // the nil that makes a pair of it
    }
    let pairs = if asked.is_some() { count - 1 } else { count };
    let order = asked.unwrap_or(0) & MAP_ORDER;
    header(out, pairs + u32::from(order != 0), [0x80, 0xde, 0xdf]);
    if order != 0 {
        out.extend_from_slice(&[0xc7, 0, order, 0xc0]);
    }
    let start = out.len();
    // Positions of each pair, its key and its end. Do not preallocate by the count, which is not trusted.
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    for _ in 0..pairs {
        let key = out.len();
        element(reader, out, depth)?;
        let value = out.len();
        if !is_key(&out[key..value]) {
            return Err(Malformed("a map's key is an integer, a string or a blob"));
        }
        element(reader, out, depth)?;
        placed.push((key, value, out.len()));
    }
    let content = &out[start..];
    let key = |&(key, value, _): &(usize, usize, usize)| &content[key - start..value - start];
    let sorted = placed.is_sorted_by(|a, b| compare(key(a), key(b)).is_lt());
    if sorted {
        return Ok(());
    }
    if order & MAP_ORDERED_BY_KEY != 0 {
        return Err(Malformed("a map that is said to be sorted is not"));
    }
    placed.sort_by(|a, b| compare(key(a), key(b)));
    if placed.windows(2).any(|two| compare(key(&two[0]), key(&two[1])).is_eq()) {
        return Err(Malformed("a key twice in a map"));
    }
    let sorted: Vec<u8> =
        placed.iter().flat_map(|&(from, _, to)| &content[from - start..to - start]).copied().collect();
    out.truncate(start);
    out.extend_from_slice(&sorted);
    Ok(())
}

fn header(out: &mut Vec<u8>, count: u32, [small, medium, large]: [u8; 3]) {
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(count @ 0..=15), _) => out.push(small | count),
        (_, Ok(count)) => {
            out.push(medium);
            out.extend_from_slice(&count.to_be_bytes());
        }
        _ => {
            out.push(large);
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
}

/// Key in the sort order of a server: integers, strings, blobs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Integer(i128),
    String(&'a [u8]),
    Blob(&'a [u8]),
}

fn is_key(bytes: &[u8]) -> bool {
    key(bytes).is_some()
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    key(a).cmp(&key(b))
}

fn key(bytes: &[u8]) -> Option<Key<'_>> {
    let (&head, rest) = bytes.split_first()?;
    let text = match head {
        0x00..=0x7f => return Some(Key::Integer(head.into())),
        0xe0..=0xff => return Some(Key::Integer(head.cast_signed().into())),
        0xcc..=0xcf => return Some(Key::Integer(number(rest)?)),
        0xd0..=0xd3 => {
            let number = number(rest)?;
            let unused = 128 - 8 * rest.len();
            return Some(Key::Integer(number << unused >> unused));
        }
        0xa0..=0xbf => rest,
        0xc4 | 0xd9 => rest.get(1..)?,
        0xc5 | 0xda => rest.get(2..)?,
        0xc6 | 0xdb => rest.get(4..)?,
        _ => return None,
    };
    match *text.first()? {
        STRING => Some(Key::String(&text[1..])),
        BLOB => Some(Key::Blob(&text[1..])),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<i128> {
    matches!(bytes.len(), 1..=8).then(|| bytes.iter().fold(0, |sum, &byte| sum << 8 | i128::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bytes: &[u8]) -> Option<Vec<u8>> {
        normal(bytes, Kind::Map).map(Vec::from)
    }

    #[test]
    fn maps_are_sorted_by_key_at_every_depth() {
        // {"b": 1, -1: {2: 0, 1: 0}, 300: 2}
        let mixed = [0x83, 0xa2, STRING, b'b', 1, 0xff, 0x82, 2, 0, 1, 0, 0xcd, 1, 44, 2];
        let sorted = [0x83, 0xff, 0x82, 1, 0, 2, 0, 0xcd, 1, 44, 2, 0xa2, STRING, b'b', 1];
        assert_eq!(map(&mixed), Some(sorted.into()));
    }

    #[test]
    fn signed_keys_come_before_unsigned_ones() {
        let bytes = [0x82, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0xd1, 0xff, 0, 0];
        assert_eq!(map(&bytes).unwrap()[1], 0xd1);
    }

    #[test]
    fn a_key_twice_and_a_lie_about_the_order_are_refused() {
        assert_eq!(map(&[0x82, 1, 0, 1, 0]), None);
        assert_eq!(map(&[0x83, 0xc7, 0, 1, 0xc0, 2, 0, 1, 0]), None);
        let ordered = [0x83, 0xc7, 0, 1, 0xc0, 1, 0, 2, 0];
        assert_eq!(map(&ordered), Some(ordered.into()));
    }

    #[test]
    fn only_integers_strings_and_blobs_are_keys() {
        assert_eq!(map(&[0x81, 0xc0, 0]), None);
        assert_eq!(map(&[0x81, 0x90, 0]), None);
        assert_eq!(map(&[0x81, 0xa1, 23, 0]), None);
        assert_eq!(map(&[0x81, 0xa0, 0]), None);
    }

    #[test]
    fn what_is_cut_short_too_long_or_too_deep_is_refused() {
        assert_eq!(normal(&[0x92, 1], Kind::List), None);
        assert_eq!(normal(&[0x91, 1, 1], Kind::List), None);
        assert_eq!(normal(&[0xdd, 0xff, 0xff, 0xff, 0xff, 1], Kind::List), None);
        assert_eq!(normal(&[0x91, 0xd4, 0xff, 0], Kind::List).as_deref(), Some(&[0x91, 0xc7, 0, 1][..]));
        assert_eq!(normal(&[0x92, 1, 0xd4, 0xff, 0], Kind::List), None);
        let deep = |n: usize| [vec![0x91; n], vec![0x90]].concat();
        assert!(normal(&deep(100), Kind::List).is_some());
        assert_eq!(normal(&deep(100_000), Kind::List), None);
        assert_eq!(normal(&[0x80], Kind::List), None);
    }
}
