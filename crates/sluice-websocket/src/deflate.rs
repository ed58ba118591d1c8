//! Compressing and uncompressing one message, RFC 7692 section 7.2. Neither remembers a former message.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Violation;

/// What the end of every message would be, which is therefore left out (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much room for uncompressed data is made at once, at least and at most, in bytes.
const ROOM: (usize, usize) = (1 << 10, 1 << 18);

/// A compressed message that is being received.
#[derive(Debug)]
pub(crate) struct Inflater(Decompress);

impl Inflater {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Uncompresses the next bytes to the end of `output`, which grows to `limit` bytes and no further.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Violation> {
        loop {
            if output.capacity() == output.len() {
                let room = output.len().clamp(ROOM.0, ROOM.1);
                // One byte beyond the limit, by which a message over it is known.
                output.reserve_exact(room.min(limit.saturating_sub(output.len()) + 1));
            }
            let before = self.0.total_in();
            let status = self.0.decompress_vec(input, output, FlushDecompress::None);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(input.len());
            input = &input[taken..];
            if output.len() > limit {
                return Err(Violation::TooBig);
            }
            match status.map_err(|_| Violation::Deflate)? {
                // A client may end the compressed data in the middle and begin anew (section 7.2.3.4).
                Status::StreamEnd => {
                    self.0.reset(false);
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                // Where there is room left, everything that could be uncompressed is.
                Status::Ok | Status::BufError if input.is_empty() && output.len() < output.capacity() => {
                    return Ok(());
                }
                Status::BufError if taken == 0 && output.len() < output.capacity() => {
                    return Err(Violation::Deflate);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    /// Uncompresses what the end of the message leaves out.
    pub(crate) fn finish(mut self, output: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        self.push(&TAIL, output, limit)
    }
}

thread_local! {
    /// The last compressor of this thread and the bits of its window. It takes a quarter of a megabyte, which
    /// would have to be made and cleared for each message.
    static COMPRESSOR: RefCell<Option<(u8, Compress)>> = const { RefCell::new(None) };
}

/// A message compressed for a client whose window has this many bits, from 9 to 15. What cannot be compressed
/// becomes a few bytes larger.
pub(crate) fn deflate(payload: &[u8], window_bits: u8) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compress = match kept {
            Some((bits, compress)) if *bits == window_bits => {
                compress.reset();
                compress
            }
            kept => {
                let level = Compression::fast();
                &mut kept.insert((window_bits, Compress::new_with_window_bits(level, false, window_bits))).1
            }
        };
        deflate_with(compress, payload)
    })
}

fn deflate_with(compress: &mut Compress, mut input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len() / 2 + 64);
    loop {
        let before = compress.total_in();
        compress.compress_vec(input, &mut output, FlushCompress::Sync).ok()?;
        input = &input[usize::try_from(compress.total_in() - before).ok()?..];
        if input.is_empty() && output.len() < output.capacity() {
            let whole = output.strip_suffix(&TAIL)?.len();
            output.truncate(whole);
            return Some(output);
        }
        output.reserve(input.len() + 64);
    }
}
