//! Builds requests and parses responses for the tests in this folder.
#![allow(dead_code)]

pub const READ: u8 = 1;
pub const WRITE: u8 = 1;

pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![2, kind];
    out.extend_from_slice(&(body.len() as u64).to_be_bytes()[2..]);
    out.extend_from_slice(body);
    out
}

pub fn info(commands: &str) -> Vec<u8> {
    frame(1, commands.as_bytes())
}

/// Operation: code, particle type, bin, value.
pub type Op<'a> = (u8, u8, &'a str, &'a [u8]);

/// Request about a record of the set `s` with optional settings.
#[derive(Clone)]
pub struct Request<'a> {
    pub info: [u8; 4],
    pub generation: u32,
    pub ttl: u32,
    pub namespace: &'a str,
    pub key: Option<&'a [u8]>,
    pub digest: u8,
    pub ops: Vec<Op<'a>>,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request { info: [0; 4], generation: 0, ttl: 0, namespace: "test", key: None, digest: 1, ops: Vec::new() }
    }
}

impl<'a> Request<'a> {
    pub fn put(ops: &[Op<'a>]) -> Request<'a> {
        Request { info: [0, 1, 0, 0], ops: ops.to_vec(), ..Request::default() }
    }

    pub fn get() -> Request<'a> {
        Request { info: [3, 0, 0, 0], ..Request::default() }
    }

    pub fn exists() -> Request<'a> {
        Request { info: [1 | 1 << 5, 0, 0, 0], ..Request::default() }
    }

    pub fn remove() -> Request<'a> {
        Request { info: [0, 3, 0, 0], ..Request::default() }
    }

    pub fn message(&self) -> Vec<u8> {
        let mut fields = vec![(0, self.namespace.as_bytes()), (1, b"s")];
        let digest = [self.digest; 20];
        fields.push((4, &digest));
        fields.extend(self.key.map(|key| (2, key)));
        frame(3, &body(self.info, self.generation, self.ttl, &fields, &self.ops))
    }

    /// Encodes the request as a row of a batch; with `repeat`, only the record is encoded.
    pub fn row(&self, index: u32, repeat: bool) -> Vec<u8> {
        let mut out = index.to_be_bytes().to_vec();
        out.extend([self.digest; 20]);
        if repeat {
            out.push(1);
            return out;
        }
        out.push(2 | 4 | 8);
        out.extend(&self.info[..3]);
        out.extend((self.generation as u16).to_be_bytes());
        out.extend(self.ttl.to_be_bytes());
        let content = body(self.info, 0, 0, &[(0, self.namespace.as_bytes()), (1, b"s")], &self.ops);
        out.extend(&content[18..]);
        out
    }
}

pub fn body(info: [u8; 4], generation: u32, ttl: u32, fields: &[(u8, &[u8])], ops: &[Op]) -> Vec<u8> {
    let mut out = vec![22];
    out.extend(info);
    out.push(0);
    out.extend(generation.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend(1000u32.to_be_bytes());
    out.extend((fields.len() as u16).to_be_bytes());
    out.extend((ops.len() as u16).to_be_bytes());
    for (kind, data) in fields {
        out.extend((data.len() as u32 + 1).to_be_bytes());
        out.push(*kind);
        out.extend_from_slice(data);
    }
    for (code, particle, name, value) in ops {
        out.extend(((4 + name.len() + value.len()) as u32).to_be_bytes());
        out.extend([*code, *particle, 0, name.len() as u8]);
        out.extend(name.as_bytes());
        out.extend_from_slice(value);
    }
    out
}

pub fn batch(count: u32, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut field = count.to_be_bytes().to_vec();
    field.push(1 | 4);
    field.extend(rows.concat());
    frame(3, &body([READ | 1 << 3, 0, 0, 0], 0, 0, &[(41, &field)], &[]))
}

/// Response about one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub last: bool,
    pub code: u8,
    pub generation: u32,
    pub void_time: u32,
    pub index: u32,
    pub bins: Vec<(String, u8, Vec<u8>)>,
}

/// Parses all responses in these message frames.
pub fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        assert_eq!(header[..2], [2, 3], "not a message: {header:?}");
        let mut length = *header;
        length[..2].fill(0);
        let (mut content, rest) = rest.split_at(u64::from_be_bytes(length) as usize);
        bytes = rest;
        while !content.is_empty() {
            found.push(answer(&mut content));
        }
    }
    assert!(bytes.is_empty());
    found
}

fn answer(content: &mut &[u8]) -> Answer {
    let head: Vec<u8> = take(content, 22).to_vec();
    let number = |from: usize| u32::from_be_bytes(head[from..from + 4].try_into().unwrap());
    assert_eq!((head[0], head[18], head[19]), (22, 0, 0), "a header, and no fields");
    let mut bins = Vec::new();
    for _ in 0..u16::from_be_bytes([head[20], head[21]]) {
        let length = u32::from_be_bytes(take(content, 4).try_into().unwrap());
        let op = take(content, length as usize);
        let (name, value) = op[4..].split_at(op[3].into());
        bins.push((String::from_utf8(name.into()).unwrap(), op[1], value.to_vec()));
    }
    Answer {
        last: head[3] & 1 != 0,
        code: head[5],
        generation: number(6),
        void_time: number(10),
        index: number(14),
        bins,
    }
}

fn take<'a>(content: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, rest) = content.split_at(length);
    *content = rest;
    head
}
