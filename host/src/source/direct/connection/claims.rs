//! The bytes of an answer, read by a decoder that believes what they claim.
//!
//! `kafka_protocol` makes room for as many elements as an array says it has, before it reads the first: four bytes of a
//! broker could ask for more memory than there is, which ends the process. Here a number that could be such a count is
//! refused if it is not sensible.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;

/// More elements, or bytes of a single field, no whole answer has. Room for so many is not yet much.
const MOST: u32 = 1 << 20;
/// The bytes of the longest count, of which each has seven bits.
const LONGEST: usize = 5;

/// The rest of an answer.
pub(super) struct Claims {
    bytes: Bytes,
    /// Counts are of a variable length (KIP-482), else of four bytes.
    compact: bool,
    /// The last single bytes that were read one after the other, each with a sign that the next belongs to it.
    run: Vec<u8>,
}

impl Claims {
    pub(super) fn new(bytes: Vec<u8>, compact: bool) -> Self {
        Claims { bytes: bytes.into(), compact, run: Vec::with_capacity(LONGEST) }
    }

    fn refused(claim: u32) -> TryGetError {
        TryGetError { requested: usize::try_from(claim).unwrap_or(usize::MAX), available: 0 }
    }
}

impl Buf for Claims {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.run.clear();
        self.bytes.advance(count);
    }

    /// A decoder reads counts of a variable length like this, and else only bytes below 128. It does not say where a
    /// count begins, so each of the last bytes is taken for a beginning: what a decoder takes for a count is among them,
    /// and an honest broker's other bytes begin none.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        self.run.push(byte);
        if self.run.len() > LONGEST {
            self.run.remove(0);
        }
        for begin in 0..self.run.len() {
            let parts = self.run[begin..].iter().enumerate();
            let value = parts.fold(0_u32, |value, (at, part)| value | u32::from(part & 0x7f) << (at * 7));
            if self.compact && value > MOST {
                return Err(Self::refused(value));
            }
        }
        if byte < 0x80 {
            self.run.clear();
        }
        Ok(byte)
    }

    /// Counts before there were those of a variable length. Other numbers of four bytes (numbers of brokers, ports,
    /// milliseconds) are refused likewise, if a broker of before 2020 has such large ones.
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.run.clear();
        let value = self.bytes.try_get_i32()?;
        match u32::try_from(value) {
            Ok(claim) if !self.compact && claim > MOST => Err(Self::refused(claim)),
            _ => Ok(value),
        }
    }
}

impl ByteBuf for Claims {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.run.clear();
        self.bytes.split_to(size)
    }
}
