//! Comparing secrets, and telling by its name which header may be one.

use std::hint::black_box;

use sha2::{Digest, Sha256};
use sluice_api::{is_credential, is_signature};

/// Whether a header of this name may carry a credential, so that it is shown to nobody.
pub(crate) fn may_be_credential(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    is_credential(&name) || is_signature(&name)
}

/// Whether two texts are the same. How long it takes says nothing about either, not even the length.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    let difference = one.iter().zip(&other).fold(0, |difference, (one, other)| difference | (one ^ other));
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_texts_are_the_same() {
        assert!(same(b"", b"") && same(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secrets", b"Secret", b""] {
            assert!(!same(b"secret", other));
        }
    }

    #[test]
    fn credentials_are_told_by_their_names() {
        for name in
            ["Authorization", "COOKIE", "X-API-Key", "apikey", "X-Hub-Signature-256", "x-access-token"]
        {
            assert!(may_be_credential(name), "{name}");
        }
        for name in ["Content-Type", "X-Tenant", "ce-id"] {
            assert!(!may_be_credential(name), "{name}");
        }
    }
}
