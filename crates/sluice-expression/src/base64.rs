//! Base64 of texts. The language has no bytes: what is encoded is the UTF-8 of a text, and what is decoded
//! has to be one.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::error::EvalError;

/// What encodes or decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base64 {
    pub(crate) encodes: bool,
    /// Whether the alphabet is that of addresses and file names.
    pub(crate) for_urls: bool,
    pub(crate) padded: bool,
}

impl Base64 {
    fn engine(self) -> GeneralPurpose {
        let alphabet = if self.for_urls { alphabet::URL_SAFE } else { alphabet::STANDARD };
        let config = GeneralPurposeConfig::new()
            .with_encode_padding(self.padded)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent);
        GeneralPurpose::new(&alphabet, config)
    }

    pub(crate) fn encode(self, text: &str) -> String {
        self.engine().encode(text)
    }

    pub(crate) fn decode(self, text: &str) -> Result<String, EvalError> {
        let bytes = self.engine().decode(text).map_err(|_| EvalError::NotBase64)?;
        String::from_utf8(bytes).map_err(|_| EvalError::NotBase64)
    }
}
