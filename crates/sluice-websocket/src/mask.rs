//! The mask that covers what clients send, RFC 6455 section 5.3.

/// A frame's mask, at the place of the frame that it has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask([u8; 4]);

impl Mask {
    pub(crate) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Takes the mask off the next bytes of the frame, or puts it on: that is the same.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(rest.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_byte_is_covered_by_its_byte_of_the_key(
            key: [u8; 4], bytes: Vec<u8>, split in 0..64_usize
        ) {
            let mut masked = bytes.clone();
            let (first, second) = masked.split_at_mut(split.min(bytes.len()));
            let mut mask = Mask::new(key);
            mask.apply(first);
            mask.apply(second);
            for (index, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(masked[index], byte ^ key[index % 4]);
            }
        }
    }
}
