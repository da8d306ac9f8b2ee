//! Value of a bin: its particle type and its bytes in wire format, validated on input.

use crate::code::Code;
use crate::msgpack;

/// Particle types.
pub mod particle {
    pub const NULL: u8 = 0;
    pub const INTEGER: u8 = 1;
    pub const FLOAT: u8 = 2;
    pub const STRING: u8 = 3;
    pub const BLOB: u8 = 4;
    /// Blobs serialised by clients of particular languages, and vectors; stored like other blobs.
    pub const LANGUAGE_BLOBS: std::ops::RangeInclusive<u8> = 7..=12;
    pub const VECTOR: u8 = 16;
    pub const BOOL: u8 = 17;
    pub const HLL: u8 = 18;
    pub const MAP: u8 = 19;
    pub const LIST: u8 = 20;
    pub const GEOJSON: u8 = 23;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    particle: u8,
    bytes: Box<[u8]>,
}

impl Value {
    pub fn from_client(particle: u8, bytes: &[u8]) -> Result<Value, Code> {
        let bytes: Box<[u8]> = match particle {
            particle::INTEGER => Box::new(integer(bytes)?.to_be_bytes()),
            particle::FLOAT => Box::new(eight(bytes)?),
            particle::BOOL if matches!(bytes, [0 | 1]) => bytes.into(),
            particle::BOOL => return Err(Code::Parameter),
            particle::STRING | particle::BLOB | particle::VECTOR | particle::HLL => bytes.into(),
            other if particle::LANGUAGE_BLOBS.contains(&other) => bytes.into(),
            particle::LIST => msgpack::normal(bytes, msgpack::Kind::List).ok_or(Code::Unknown)?,
            particle::MAP => msgpack::normal(bytes, msgpack::Kind::Map).ok_or(Code::Unknown)?,
            particle::GEOJSON => geojson(bytes).ok_or(Code::InvalidGeoJson)?,
            _ => return Err(Code::Parameter),
        };
        Ok(Value { particle, bytes })
    }

    pub fn particle(&self) -> u8 {
        self.particle
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds an integer with wrap-around, like a server. Types are not converted.
    pub fn increment(&mut self, particle: u8, by: &[u8]) -> Result<(), Code> {
        match self.particle {
            particle::GEOJSON => return Err(Code::Unknown),
            particle::INTEGER | particle::FLOAT if particle == self.particle => {}
            _ => return Err(Code::IncompatibleType),
        }
        let own = eight(&self.bytes)?;
        let sum = if particle == particle::INTEGER {
            i64::from_be_bytes(own).wrapping_add(integer(by)?).to_be_bytes()
        } else {
            (f64::from_be_bytes(own) + f64::from_be_bytes(eight(by)?)).to_be_bytes()
        };
        self.bytes = Box::new(sum);
        Ok(())
    }

    pub fn append(&mut self, particle: u8, more: &[u8]) -> Result<(), Code> {
        self.joinable(particle)?;
        self.change(|bytes| bytes.extend_from_slice(more));
        Ok(())
    }

    pub fn prepend(&mut self, particle: u8, more: &[u8]) -> Result<(), Code> {
        self.joinable(particle)?;
        self.change(|bytes| drop(bytes.splice(..0, more.iter().copied())));
        Ok(())
    }

    fn change(&mut self, with: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        with(&mut bytes);
        self.bytes = bytes.into();
    }

    /// Checks that a value can be extended: strings and blobs only, with the same type.
    fn joinable(&self, particle: u8) -> Result<(), Code> {
        match self.particle {
            particle::GEOJSON => Err(Code::Unknown),
            particle::STRING | particle::BLOB | particle::VECTOR if particle == self.particle => Ok(()),
            other if particle::LANGUAGE_BLOBS.contains(&other) && particle == other => Ok(()),
            _ => Err(Code::IncompatibleType),
        }
    }
}

/// Parses an integer. Clients send 8 bytes; older ones only the necessary bytes, unsigned.
fn integer(bytes: &[u8]) -> Result<i64, Code> {
    let small = match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
        _ => return eight(bytes).map(i64::from_be_bytes),
    };
    Ok(small)
}

fn eight(bytes: &[u8]) -> Result<[u8; 8], Code> {
    bytes.try_into().map_err(|_| Code::Parameter)
}

/// Validates `flags, number of cells, cells, JSON`. The cells are an index internal to the server and are dropped.
fn geojson(bytes: &[u8]) -> Option<Box<[u8]>> {
    let (&[flags, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let cells = 8 * usize::from(u16::from_be_bytes([high, low]));
    let json = rest.get(cells..)?;
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let value = if value["type"] == "Feature" { &value["geometry"] } else { &value };
    let known = ["Point", "Polygon", "MultiPolygon", "AeroCircle"];
    if !known.iter().any(|kind| value["type"] == *kind) || !value["coordinates"].is_array() {
        return None;
    }
    Some([&[flags, 0, 0], json].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(particle: u8, bytes: &[u8]) -> Value {
        Value::from_client(particle, bytes).unwrap()
    }

    #[test]
    fn short_integers_grow_to_eight_bytes() {
        assert_eq!(value(particle::INTEGER, &[1, 0]), value(particle::INTEGER, &256i64.to_be_bytes()));
        assert_eq!(Value::from_client(particle::INTEGER, &[1, 2, 3]), Err(Code::Parameter));
    }

    #[test]
    fn integers_wrap_and_types_do_not_mix() {
        let mut number = value(particle::INTEGER, &i64::MAX.to_be_bytes());
        number.increment(particle::INTEGER, &1i64.to_be_bytes()).unwrap();
        assert_eq!(number.bytes(), i64::MIN.to_be_bytes());
        let half = 0.5f64.to_be_bytes();
        assert_eq!(number.increment(particle::FLOAT, &half), Err(Code::IncompatibleType));
        let mut text = value(particle::STRING, b"a");
        assert_eq!(text.increment(particle::INTEGER, &1i64.to_be_bytes()), Err(Code::IncompatibleType));
        assert_eq!(text.append(particle::BLOB, b"b"), Err(Code::IncompatibleType));
        text.append(particle::STRING, b"b").unwrap();
        text.prepend(particle::STRING, b"_").unwrap();
        assert_eq!(text.bytes(), b"_ab");
    }

    #[test]
    fn a_float_adds_floats() {
        let mut number = value(particle::FLOAT, &1.5f64.to_be_bytes());
        number.increment(particle::FLOAT, &0.25f64.to_be_bytes()).unwrap();
        assert_eq!(number.bytes(), 1.75f64.to_be_bytes());
    }

    #[test]
    fn what_is_not_of_its_type_is_refused() {
        assert_eq!(Value::from_client(particle::BOOL, &[2]), Err(Code::Parameter));
        assert_eq!(Value::from_client(particle::FLOAT, &[0; 4]), Err(Code::Parameter));
        assert_eq!(Value::from_client(99, b""), Err(Code::Parameter));
        assert_eq!(Value::from_client(particle::GEOJSON, b"\0\0\0{}"), Err(Code::InvalidGeoJson));
        assert_eq!(Value::from_client(particle::GEOJSON, b"\0\0\x09{}"), Err(Code::InvalidGeoJson));
        let point = br#"{"type":"Point","coordinates":[1.0,2.0]}"#;
        assert!(Value::from_client(particle::GEOJSON, &[b"\0\0\0", &point[..]].concat()).is_ok());
    }
}
