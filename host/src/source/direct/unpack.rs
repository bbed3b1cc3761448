//! What producers pack batches with: gzip, snappy, lz4 and zstd.
//!
//! What is unpacked is bounded, whatever a batch says of itself.

use std::io::{self, Read};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::records::Fault;
use crate::Error;

/// A batch may unpack to so many bytes: producers bound what they pack, to 1 MiB as a rule.
const MOST: usize = 64 << 20;
/// … and so much memory is kept for the next one.
const KEPT: usize = 1 << 20;
/// How the framing of Java's snappy library begins, followed by two versions.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// Unpacks one batch after the other, in the same memory.
#[derive(Default)]
pub(super) struct Unpacker {
    bytes: Vec<u8>,
    zstd: Option<Decoder<'static>>,
}

impl Unpacker {
    /// Gives back what one large batch took: there is one of these for each partition.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    /// What was unpacked last.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Unpacks records; codecs have the numbers of a batch's attributes.
    pub(super) fn unpack(&mut self, codec: i16, packed: &[u8]) -> Result<(), Fault> {
        self.bytes.clear();
        let unpacked = match codec {
            1 => self.stream(flate2::read::MultiGzDecoder::new(packed)),
            2 => self.snappy(packed),
            3 => self.stream(lz4_flex::frame::FrameDecoder::new(packed)),
            4 => self.zstd(packed),
            other => return Err(Fault::Foreign(Error::stop(format!("has the unknown codec {other}")))),
        };
        unpacked.map_err(|e| Fault::Corrupt(format!("cannot be unpacked: {e}")))?;
        match self.bytes.len() > MOST {
            true => Err(Fault::Foreign(Error::stop(format!("unpacks to more than {} MiB", MOST >> 20)))),
            false => Ok(()),
        }
    }

    fn stream(&mut self, from: impl Read) -> io::Result<()> {
        from.take(MOST as u64 + 1).read_to_end(&mut self.bytes).map(drop)
    }

    fn snappy(&mut self, packed: &[u8]) -> io::Result<()> {
        if !packed.starts_with(XERIAL) {
            return self.block(packed);
        }
        let mut rest = packed.get(XERIAL_HEADER..).unwrap_or_default();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let block = behind.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.block(block)?;
            rest = &behind[length..];
            if self.bytes.len() > MOST {
                break;
            }
        }
        Ok(())
    }

    /// One block of snappy: it says how long it is before it is unpacked.
    fn block(&mut self, packed: &[u8]) -> io::Result<()> {
        let length = snap::raw::decompress_len(packed)?;
        let before = self.bytes.len();
        let after = before.saturating_add(length);
        // What is too long is not unpacked; that it is too long is enough to know.
        self.bytes.resize(after.min(MOST + 1), 0);
        if after <= MOST {
            snap::raw::Decoder::new().decompress(packed, &mut self.bytes[before..])?;
        }
        Ok(())
    }

    fn zstd(&mut self, packed: &[u8]) -> io::Result<()> {
        let decoder = match &mut self.zstd {
            Some(decoder) => {
                decoder.reinit()?;
                decoder
            }
            none => none.insert(Decoder::new()?),
        };
        let mut from = InBuffer::around(packed);
        // Four times as much is a fair guess; it grows from there.
        let mut room = packed.len().saturating_mul(4).clamp(64 << 10, MOST + 1);
        loop {
            let before = self.bytes.len();
            self.bytes.resize(room, 0);
            let mut to = OutBuffer::around_pos(&mut self.bytes[..], before);
            let hint = decoder.run(&mut from, &mut to)?;
            let written = to.pos();
            self.bytes.truncate(written);
            match from.pos() == packed.len() {
                // What was asked of it once more would be the beginning of another frame.
                true if hint == 0 => return Ok(()),
                // It had room, did not use it, and wants more.
                true if written < room => return Err(io::ErrorKind::UnexpectedEof.into()),
                false if written < room => continue,
                _ => {}
            }
            if room > MOST {
                return Ok(());
            }
            room = room.saturating_mul(2).min(MOST + 1);
        }
    }
}
