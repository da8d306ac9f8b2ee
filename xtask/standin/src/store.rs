//! Storage: namespaces of records by digest, within the memory budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::Budget;
use crate::value::{Value, particle};

pub type Digest = [u8; 20];

/// Number of parts that can be written concurrently.
const SHARDS: usize = 64;

/// Memory of a record in addition to its data: map slot, vectors, pointers. Measured and rounded up.
const RECORD_OVERHEAD: usize = 256;
const BIN_OVERHEAD: usize = 96;

#[derive(Debug, Clone)]
pub struct Bin {
    pub name: Box<[u8]>,
    pub value: Value,
}

#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Number of writes; 0 if the record does not exist.
    pub generation: u16,
    /// Expiry time in the protocol's seconds; 0 means never.
    pub void_time: u32,
    pub set: Box<[u8]>,
    /// The user's key, if the client sent it.
    pub key: Option<Box<[u8]>>,
    pub bins: Vec<Bin>,
}

impl Record {
    pub fn is_live(&self, now: u32) -> bool {
        self.void_time == 0 || self.void_time >= now
    }

    /// Returns a copy without bins.
    pub fn without_bins(&self) -> Record {
        Record { set: self.set.clone(), key: self.key.clone(), bins: Vec::new(), ..*self }
    }

    /// Returns the memory used by the record.
    fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let bins = self.bins.iter().map(|bin| BIN_OVERHEAD + bin.name.len() + bin.value.bytes().len());
        RECORD_OVERHEAD + self.set.len() + key + bins.sum::<usize>()
    }

    /// Returns the size that a server compares with `max-record-size`: the size on a device.
    pub fn stored_size(&self) -> usize {
        let varint = |number: usize| if number < 128 { 1 } else { 2 };
        let expiry = if self.void_time == 0 { 0 } else { 4 };
        let set = if self.set.is_empty() { 0 } else { 1 + self.set.len() };
        let key = self.key.as_ref().map_or(0, |key| varint(key.len()) + key.len());
        let bins = self.bins.iter().map(|bin| {
            let value = match bin.value.particle() {
                particle::INTEGER => 2 + integer_size(bin.value.bytes()),
                particle::FLOAT => 1 + 8,
                particle::BOOL => 1 + 1,
                _ => 1 + 4 + bin.value.bytes().len(),
            };
            1 + bin.name.len() + value
        });
        35 + expiry + set + key + varint(self.bins.len()) + bins.sum::<usize>() + 4
    }
}

/// Returns the smallest of 1, 2, 4 or 8 bytes that an integer needs; negative integers need 8.
fn integer_size(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.len().saturating_sub(zeros).max(1).next_power_of_two()
}

type Shard = HashMap<Digest, Record>;

#[derive(Debug)]
pub struct Namespace {
    name: String,
    shards: [Mutex<Shard>; SHARDS],
    budget: Arc<Budget>,
}

impl Namespace {
    pub fn new(name: String, budget: Arc<Budget>) -> Namespace {
        Namespace { name, shards: std::array::from_fn(|_| Mutex::default()), budget }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Locks the part that contains this record, for one operation.
    pub fn open(&self, digest: Digest) -> Entry<'_> {
        let shard = lock(&self.shards[usize::from(digest[0]) % SHARDS]);
        Entry { shard, digest, budget: &self.budget }
    }

    pub fn records(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Frees the memory of expired records, which are otherwise freed only when accessed.
    pub fn sweep(&self, now: u32) {
        for shard in &self.shards {
            lock(shard).retain(|_, record| {
                let live = record.is_live(now);
                if !live {
                    self.budget.give_back(record.cost());
                }
                live
            });
        }
    }
}

/// A panic cannot leave a shard in an inconsistent state, because records are replaced in one step.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slot of a record, which may be empty, locked until drop.
pub struct Entry<'a> {
    shard: MutexGuard<'a, Shard>,
    digest: Digest,
    budget: &'a Budget,
}

impl Entry<'_> {
    /// Returns the record unless it has expired.
    pub fn live(&self, now: u32) -> Option<&Record> {
        self.shard.get(&self.digest).filter(|record| record.is_live(now))
    }

    pub fn remove(&mut self) {
        if let Some(old) = self.shard.remove(&self.digest) {
            self.budget.give_back(old.cost());
        }
    }

    /// Replaces the record. Returns false if the memory is not sufficient.
    #[must_use]
    pub fn replace(&mut self, mut record: Record) -> bool {
        record.bins.shrink_to_fit();
        let (new, old) = (record.cost(), self.shard.get(&self.digest).map_or(0, Record::cost));
        if new > old && !self.budget.take(new - old) {
            return false;
        }
        self.budget.give_back(old.saturating_sub(new));
        self.shard.insert(self.digest, record);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Record {
        let value = Value::from_client(particle::BLOB, &vec![0; bytes]).unwrap();
        Record { bins: vec![Bin { name: (*b"b").into(), value }], ..Record::default() }
    }

    #[test]
    fn memory_is_counted_when_records_come_change_and_go() {
        let budget = Budget::new(10_000);
        let namespace = Namespace::new("test".into(), budget.clone());
        assert!(namespace.open([1; 20]).replace(record(5_000)));
        assert!(!namespace.open([2; 20]).replace(record(5_000)));
        assert!(namespace.open([1; 20]).replace(record(100)));
        assert!(namespace.open([2; 20]).replace(record(5_000)));
        assert_eq!(namespace.records(), 2);
        namespace.open([1; 20]).remove();
        namespace.open([2; 20]).remove();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_has_expired_is_swept() {
        let budget = Budget::new(10_000);
        let namespace = Namespace::new("test".into(), budget.clone());
        assert!(namespace.open([1; 20]).replace(Record { void_time: 10, ..record(1) }));
        assert!(namespace.open([1; 20]).live(10).is_some());
        assert!(namespace.open([1; 20]).live(11).is_none());
        namespace.sweep(10);
        assert_eq!(namespace.records(), 1);
        namespace.sweep(11);
        assert_eq!((namespace.records(), budget.used()), (0, 0));
    }
}
