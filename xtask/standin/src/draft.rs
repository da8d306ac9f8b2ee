//! Working copy of a record's bins, in order and with constant-time lookup by name.

use std::collections::HashMap;

use crate::store::Bin;
use crate::value::Value;

/// Copy of a record's bins.
#[derive(Debug, Default)]
pub struct Draft {
    /// Removed bins leave an empty slot, so that the positions of the others do not change.
    places: Vec<Option<Bin>>,
    by_name: HashMap<Box<[u8]>, usize>,
}

impl Draft {
    pub fn of(bins: &[Bin]) -> Draft {
        Draft {
            places: bins.iter().cloned().map(Some).collect(),
            by_name: bins.iter().enumerate().map(|(place, bin)| (bin.name.clone(), place)).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Bin> {
        self.places.iter().flatten()
    }

    pub fn get(&self, name: &[u8]) -> Option<&Value> {
        let place = *self.by_name.get(name)?;
        self.places.get(place)?.as_ref().map(|bin| &bin.value)
    }

    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Value> {
        let place = *self.by_name.get(name)?;
        self.places.get_mut(place)?.as_mut().map(|bin| &mut bin.value)
    }

    /// Writes a bin; a new bin is appended.
    pub fn put(&mut self, name: &[u8], value: Value) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
            return;
        }
        self.by_name.insert(name.into(), self.places.len());
        self.places.push(Some(Bin { name: name.into(), value }));
    }

    pub fn remove(&mut self, name: &[u8]) {
        if let Some(place) = self.by_name.remove(name).and_then(|place| self.places.get_mut(place)) {
            *place = None;
        }
    }

    pub fn clear(&mut self) {
        *self = Draft::default();
    }

    pub fn into_bins(self) -> Vec<Bin> {
        self.places.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::particle;

    fn value(text: &str) -> Value {
        Value::from_client(particle::STRING, text.as_bytes()).unwrap()
    }

    #[test]
    fn bins_keep_their_order() {
        let mut draft = Draft::default();
        for name in ["a", "b", "c"] {
            draft.put(name.as_bytes(), value(name));
        }
        draft.remove(b"b");
        draft.remove(b"b");
        draft.put(b"a", value("again"));
        draft.put(b"b", value("last"));
        assert_eq!((draft.len(), draft.get(b"a").map(Value::bytes)), (3, Some(&b"again"[..])));
        let names = |draft: &Draft| draft.iter().map(|bin| bin.name.to_vec()).collect::<Vec<_>>();
        assert_eq!(names(&draft), [b"a", b"c", b"b"]);
        let draft = Draft::of(&draft.into_bins());
        assert_eq!(names(&draft), [b"a", b"c", b"b"]);
        assert!(draft.get(b"d").is_none());
    }
}
