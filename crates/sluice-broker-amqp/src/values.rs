//! The shape of encoded values of AMQP: how deep they nest, how many there are, and whether sizes and counts agree.
//!
//! The library decodes by recursion and believes the sizes it is told, so that a hostile message could overflow the
//! stack or take all memory. A [`Scan`] looks at the bytes first, as they come and without keeping them. It knows
//! nothing of what values mean.

/// Values within values, at the most: sections and maps of a message included.
pub(crate) const DEEPEST: usize = 64;
/// Values in one message or performative, at the most.
pub(crate) const MOST_VALUES: u64 = 65_536;

/// Values one after the other, seen as far as they have come.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Bytes that were looked at.
    at: u64,
    /// Bytes there may be.
    limit: u64,
    /// Values that may begin yet.
    values: u64,
    /// The values that others stand in, outermost first.
    open: Vec<Open>,
    next: Next,
}

/// Where bytes stop being values that may be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The offset of the first byte that is wrong, among those of the call.
    pub(crate) at: usize,
    /// Whether that byte should be the type of a value.
    pub(crate) is_type: bool,
}

/// A value with others in it.
#[derive(Debug)]
struct Open {
    /// Where it must have ended.
    end: u64,
    /// Whether it says itself where it ends.
    is_sized: bool,
    /// Values in it that have not ended.
    left: u64,
    /// For an array of values that have a length: how many bytes the length has.
    width: Option<u8>,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum Next {
    Type,
    /// The type of a descriptor.
    Descriptor,
    /// The type of all values of an array.
    Element {
        count: u64,
        end: u64,
    },
    /// One of so many bytes of a number.
    Number {
        left: u8,
        value: u64,
        of: Number,
    },
    /// One of so many bytes that no decoder takes for a type.
    Plain(u64),
    /// Anything: a value has ended elsewhere than it said.
    Unsound,
}

/// What a number says.
#[derive(Debug, Clone, Copy)]
enum Number {
    Length,
    Size { width: u8, kind: Kind },
    Count { end: u64, kind: Kind },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Map,
    Array,
}

/// What follows a type. AMQP tells by the upper half of the type's code.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Fixed(u64),
    Length(u8),
    Size(u8, Kind),
}

impl Layout {
    const fn of(code: u8) -> Option<Self> {
        Some(match code >> 4 {
            0x4 => Self::Fixed(0),
            0x5 => Self::Fixed(1),
            0x6 => Self::Fixed(2),
            0x7 => Self::Fixed(4),
            0x8 => Self::Fixed(8),
            0x9 => Self::Fixed(16),
            0xa => Self::Length(1),
            0xb => Self::Length(4),
            0xc => Self::Size(1, kind(code)),
            0xd => Self::Size(4, kind(code)),
            0xe => Self::Size(1, Kind::Array),
            0xf => Self::Size(4, Kind::Array),
            _ => return None,
        })
    }
}

const fn kind(code: u8) -> Kind {
    if code & 1 == 0 { Kind::List } else { Kind::Map }
}

impl Scan {
    /// For so many bytes at the most.
    pub(crate) const fn new(limit: u64) -> Self {
        Self { at: 0, limit, values: MOST_VALUES, open: Vec::new(), next: Next::Type }
    }

    /// Looks at the bytes that come next.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(bytes, at)?;
        }
        Ok(())
    }

    /// Looks at one value, with which the bytes begin; returns how many it has.
    pub(crate) fn one(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(bytes, at)?;
            if self.open.is_empty() && matches!(self.next, Next::Type) {
                return Ok(at);
            }
        }
        Err(Flaw { at, is_type: false })
    }

    /// Looks at some bytes; returns how many.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<usize, Flaw> {
        if let Next::Plain(left) = self.next {
            let rest = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
            let taken = left.min(rest);
            self.at += taken;
            self.next = Next::Plain(left - taken);
            if taken == left {
                self.ended();
            }
            return Ok(usize::try_from(taken).unwrap_or(usize::MAX));
        }
        let is_type = !matches!(self.next, Next::Number { .. });
        self.byte(bytes[at]).map(|()| 1).ok_or(Flaw { at, is_type })
    }

    /// Where the innermost value that is open ends at the latest.
    fn end(&self) -> u64 {
        self.open.last().map_or(self.limit, |open| open.end)
    }

    /// `None` for a byte that must not stand here.
    fn byte(&mut self, byte: u8) -> Option<()> {
        if self.at >= self.end() {
            return None;
        }
        self.at += 1;
        match self.next {
            Next::Type => self.begin(byte),
            // Whatever else may be a descriptor by the book, nobody writes it, and it would nest.
            Next::Descriptor if matches!(byte, 0x44 | 0x53 | 0x80 | 0xa3 | 0xb3) => self.begin(byte),
            Next::Element { count, end } => self.begin_elements(byte, count, end),
            Next::Number { left, value, of } => {
                let value = value << 8 | u64::from(byte);
                if left > 1 {
                    self.next = Next::Number { left: left - 1, value, of };
                    return Some(());
                }
                self.number(value, of)
            }
            Next::Descriptor | Next::Plain(_) | Next::Unsound => None,
        }
    }

    fn begin(&mut self, code: u8) -> Option<()> {
        self.spend(1)?;
        if code == 0 {
            // A descriptor, and what it describes.
            self.next = Next::Descriptor;
            return self.open(Open { end: self.end(), is_sized: false, left: 2, width: None });
        }
        match Layout::of(code)? {
            Layout::Fixed(width) => self.plain(width),
            Layout::Length(width) => self.ask(width, Number::Length),
            Layout::Size(width, kind) => self.ask(width, Number::Size { width, kind }),
        }
    }

    /// The type of an array's values. The library loses its way in arrays of what has others in it.
    fn begin_elements(&mut self, code: u8, count: u64, end: u64) -> Option<()> {
        self.spend(count)?;
        match Layout::of(code)? {
            Layout::Fixed(width) => {
                let whole = count * width;
                (self.at + whole == end).then_some(())?;
                self.plain(whole)
            }
            Layout::Length(width) => {
                self.open(Open { end, is_sized: true, left: count, width: Some(width) })?;
                self.ask(width, Number::Length)
            }
            Layout::Size(..) => None,
        }
    }

    fn number(&mut self, value: u64, of: Number) -> Option<()> {
        match of {
            Number::Length => self.plain(value),
            Number::Size { width, kind } => {
                let end = self.at + value;
                (value >= u64::from(width) && end <= self.end()).then_some(())?;
                self.ask(width, Number::Count { end, kind })
            }
            Number::Count { end, kind: Kind::Array } if value > 0 => {
                self.next = Next::Element { count: value, end };
                Some(())
            }
            Number::Count { end, .. } if value == 0 => {
                // The library reads nothing behind the count then.
                (self.at == end).then_some(())?;
                self.plain(0)
            }
            Number::Count { end, kind } => {
                (kind != Kind::Map || value.is_multiple_of(2)).then_some(())?;
                self.next = Next::Type;
                self.open(Open { end, is_sized: true, left: value, width: None })
            }
        }
    }

    fn spend(&mut self, values: u64) -> Option<()> {
        self.values = self.values.checked_sub(values)?;
        Some(())
    }

    fn open(&mut self, open: Open) -> Option<()> {
        (self.open.len() < DEEPEST).then(|| self.open.push(open))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends what may fail")]
    fn ask(&mut self, width: u8, of: Number) -> Option<()> {
        self.next = Next::Number { left: width, value: 0, of };
        Some(())
    }

    /// The value goes on for so many bytes.
    fn plain(&mut self, bytes: u64) -> Option<()> {
        (self.at + bytes <= self.end()).then_some(())?;
        self.next = Next::Plain(bytes);
        if bytes == 0 {
            self.ended();
        }
        Some(())
    }

    /// A value has ended, and with it those whose last it was.
    fn ended(&mut self) {
        self.next = Next::Type;
        while let Some(open) = self.open.last_mut() {
            open.left -= 1;
            if open.left > 0 {
                if let Some(left) = open.width {
                    self.next = Next::Number { left, value: 0, of: Number::Length };
                }
                return;
            }
            if open.is_sized && open.end != self.at {
                self.next = Next::Unsound;
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<(), Flaw> {
        let mut whole = Scan::new(1 << 20);
        let found = whole.push(bytes);
        let mut parts = Scan::new(1 << 20);
        let by_one = bytes.iter().enumerate().try_for_each(|(at, byte)| {
            parts.push(&[*byte]).map_err(|flaw| Flaw { at: at + flaw.at, ..flaw })
        });
        assert_eq!(found, by_one, "it does not depend on how the bytes come: {bytes:02x?}");
        found
    }

    fn flaw(at: usize, is_type: bool) -> Result<(), Flaw> {
        Err(Flaw { at, is_type })
    }

    /// Lists within each other, as short as can be.
    fn lists(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x45];
        for _ in 1..depth {
            let size = u32::try_from(bytes.len() + 4).unwrap();
            bytes = [&[0xd0], &size.to_be_bytes()[..], &[0, 0, 0, 1], &bytes[..]].concat();
        }
        bytes
    }

    #[test]
    fn values_of_every_layout_are_sound() {
        let sound: [&[u8]; 10] = [
            &[0x40, 0x41, 0x52, 7, 0x60, 0, 1],
            &[0x71, 0, 0, 0, 1, 0x83, 0, 0, 0, 0, 0, 0, 0, 1],
            b"\xa1\x02hi\xb1\x00\x00\x00\x02hi",
            &[0xc0, 3, 2, 0x40, 0x40],
            &[0xd1, 0, 0, 0, 6, 0, 0, 0, 2, 0x40, 0x41],
            b"\xe0\x06\x02\xa3\x01a\x01b",
            &[0xf0, 0, 0, 0, 9, 0, 0, 0, 2, 0x60, 0, 1, 0, 2],
            &[0xe0, 4, 200, 0x40],
            &[0x00, 0x53, 0x77, 0x00, 0xa3, 1, b'x', 0x45],
            &[0xe0, 1, 0, 0x45, 0xc1, 1, 0],
        ];
        for (number, bytes) in sound.into_iter().enumerate() {
            let expected = if number == 7 { flaw(3, true) } else { Ok(()) };
            assert_eq!(scan(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn sizes_and_counts_that_do_not_agree_are_found() {
        let cases: [(&[u8], usize, bool); 11] = [
            (&[0xc0, 0, 0], 1, false),
            (&[0xd0, 0, 0, 0, 3, 0], 4, false),
            (&[0xc0, 2, 2, 0x40, 0x40], 4, true),
            (&[0xc0, 3, 1, 0x40, 0x40], 4, true),
            (&[0xc1, 2, 1, 0x40], 2, false),
            (&[0xe0, 2, 0, 0xc0], 2, false),
            (&[0xe0, 1, 1, 0x40], 3, true),
            (&[0xe0, 3, 1, 0xc0, 0], 3, true),
            (&[0xe0, 3, 1, 0x00, 0], 3, true),
            (&[0xb1, 0x7f, 0xff, 0xff, 0xff], 4, false),
            (&[0x00, 0x00, 0x53], 1, true),
        ];
        for (bytes, at, is_type) in cases {
            assert_eq!(scan(bytes), flaw(at, is_type), "{bytes:02x?}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(scan(&lists(DEEPEST + 1)), Ok(()), "the innermost has nothing in it");
        assert!(scan(&lists(DEEPEST + 2)).is_err());
        let described = |depth: usize| [[0x00, 0x53, 0x01].repeat(depth), vec![0x40]].concat();
        assert_eq!(scan(&described(DEEPEST)), Ok(()));
        assert_eq!(scan(&described(DEEPEST + 1)), flaw(3 * DEEPEST, true));
    }

    #[test]
    fn the_number_of_values_has_an_end() {
        let most = usize::try_from(MOST_VALUES).unwrap();
        assert_eq!(scan(&vec![0x40; most]), Ok(()));
        assert_eq!(scan(&vec![0x40; most + 1]), flaw(most, true));
        assert_eq!(scan(&[0xf0, 0, 0, 0, 5, 0, 1, 0, 0, 0x40]), flaw(9, true), "its array is one, too");
    }

    #[test]
    fn no_value_goes_beyond_the_limit() {
        let data = |length: u8| [&[0xa0, length], &vec![0; length.into()][..]].concat();
        assert_eq!(Scan::new(10).push(&data(8)), Ok(()));
        assert_eq!(Scan::new(10).push(&data(9)), flaw(1, false));
        assert_eq!(Scan::new(2).push(&[0x40; 3]), flaw(2, true));
    }

    #[test]
    fn one_value_is_told_from_what_follows() {
        assert_eq!(Scan::new(9).one(&[0x00, 0x53, 0x14, 0xc0, 2, 1, 0x43, 0xff, 0xff]), Ok(7));
        assert!(Scan::new(9).one(&[0x00, 0x53, 0x14, 0xc0, 2, 1]).is_err(), "it ends too early");
    }
}
