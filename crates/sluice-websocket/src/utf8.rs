//! Whether text that comes in pieces is UTF-8, told as early as it can be.

/// Text of which pieces were seen.
#[derive(Debug, Default)]
pub(crate) struct Utf8 {
    /// The bytes of a character that is not whole yet.
    begun: [u8; 4],
    len: usize,
}

impl Utf8 {
    /// Takes the next piece; false when the text can no longer become UTF-8.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            self.begun[self.len] = byte;
            self.len += 1;
            match std::str::from_utf8(&self.begun[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let begun = &piece[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.len = begun.len();
                true
            }
        }
    }

    /// Whether the text may end here.
    pub(crate) const fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_that_cannot_be_is_told_before_it_is_whole() {
        // A surrogate, a number beyond Unicode, an overlong form: the second byte gives them away.
        for begun in [&b"\xed\xa0"[..], b"\xf4\x90", b"\xe0\x80", b"\xff"] {
            assert!(!Utf8::default().push(begun), "{begun:x?}");
        }
        let mut text = Utf8::default();
        assert!(text.push(b"\xf4") && !text.push(b"\x90"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_wherever_it_is_cut(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(prop_oneof![0x78..0x82_u8, 0xc0..0xd0_u8, 0xe0..=0xff_u8], 0..12),
            ],
            step in 1..5_usize,
        ) {
            let mut text = Utf8::default();
            let possible = bytes.chunks(step).all(|piece| text.push(piece));
            prop_assert_eq!(possible && text.is_whole(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
