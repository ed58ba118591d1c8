//! Message headers: an ordered list of names and byte values.
//!
//! Kafka allows a name to repeat and a value to be any bytes; HTTP compares names without case. Both hold
//! here: order and repeats are kept, look-ups ignore ASCII case. Values are not required to be text.

use bytes::Bytes;

/// One header as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, in the case in which it came.
    pub name: Box<str>,
    /// The value; any bytes.
    pub value: Bytes,
}

/// An ordered list of headers in which a name may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// Headers without an entry.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a header behind those already there, whether or not the name is present.
    pub fn append(&mut self, name: impl Into<Box<str>>, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: value.into() });
    }

    /// Removes every header of this name and adds one with this value.
    pub fn set(&mut self, name: impl Into<Box<str>>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Removes every header of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|header| !header.name.eq_ignore_ascii_case(name));
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &header.value)
    }

    /// All values of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> + use<'a> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| &header.value)
    }

    /// All headers, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// How many headers there are, repeats counted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values; what a bound on headers is checked against.
    pub fn size(&self) -> usize {
        self.0.iter().map(|header| header.name.len() + header.value.len()).sum()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<N: Into<Box<str>>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, value)| Header { name: name.into(), value: value.into() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_repeats_and_ignores_case_on_look_up() {
        let headers: Headers = [("X-A", "1"), ("b", "2"), ("x-a", "3")].into_iter().collect();
        assert_eq!(headers.get("x-A").unwrap(), "1");
        assert_eq!(headers.get_all("X-a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(headers.iter().map(|header| &*header.name).collect::<Vec<_>>(), ["X-A", "b", "x-a"]);
    }

    #[test]
    fn set_replaces_all_of_a_name() {
        let mut headers: Headers = [("a", "1"), ("A", "2"), ("b", "3")].into_iter().collect();
        headers.set("a", "4");
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), ["4"]);
        assert_eq!(headers.len(), 2);
    }
}
