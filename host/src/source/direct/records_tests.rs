use arrow::array::{Array, AsArray};
use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, Record as Known, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::*;
use crate::batch::Delivered;

/// What a test's events are made of, of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % below.max(1)
    }

    fn bytes(&mut self, most: usize) -> Option<Bytes> {
        let length = self.below(most + 1);
        (length != most).then(|| (0..length).map(|_| u8::try_from(self.below(256)).unwrap_or(0)).collect())
    }
}

/// A batch of records with those offsets, in the words of the crate that encodes it.
fn known(dice: &mut Dice, offsets: impl IntoIterator<Item = i64>) -> Vec<Known> {
    let of = |offset| Known {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        // Else each record gets a batch of its own.
        sequence: i32::try_from(offset).expect("small"),
        timestamp: 1_700_000_000_000 + i64::try_from(dice.below(100_000)).unwrap_or(0) - 50_000,
        key: dice.bytes(9),
        value: dice.bytes(300),
        headers: (0..dice.below(4)).map(|n| (format!("h{n}").into(), dice.bytes(5))).collect(),
    };
    offsets.into_iter().map(of).collect()
}

fn encoded(records: &[Known]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, records, &options).expect("a batch");
    bytes.to_vec()
}

/// Sets length and checksum of a batch to what it is.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - BEFORE).expect("small");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// The same batch, with attributes and the producer of a transaction.
fn of_transaction(mut batch: Vec<u8>, attributes: i16, producer: i64) -> Vec<u8> {
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[43..51].copy_from_slice(&producer.to_be_bytes());
    sealed(batch)
}

/// The marker that ends a transaction: 0 if it came to nothing, 1 if it is true.
fn marker(offset: i64, producer: i64, kind: u8) -> Vec<u8> {
    let mut record = known(&mut Dice(1), [offset]);
    record[0].key = Some(Bytes::copy_from_slice(&[0, 0, 0, kind]));
    of_transaction(encoded(&record), 48, producer)
}

fn read(chunk: Chunk, from: i64) -> Result<Vec<Delivered>, Fault> {
    let mut collector = Collector::new(crate::env::machine(), "t".into(), 0, from, 4 << 20);
    let (mut reader, mut batches) = (Reader::default(), Vec::new());
    reader.begin(chunk);
    while !reader.is_empty() {
        collector.arrive();
        reader.read(&mut collector)?;
        batches.extend(collector.take());
    }
    Ok(batches)
}

fn offsets(batches: &[Delivered]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.offset.values().to_vec()).collect()
}

fn assert_are(batches: &[Delivered], wanted: &[Known]) {
    let mut wanted = wanted.iter();
    for batch in batches {
        for row in 0..batch.len() {
            let known = wanted.next().expect("no more than there are");
            let of = |column: &arrow::array::BinaryArray| {
                column.is_valid(row).then(|| Bytes::copy_from_slice(column.value(row)))
            };
            assert_eq!(
                (batch.offset.value(row), batch.timestamp.value(row)),
                (known.offset, known.timestamp * 1000)
            );
            assert_eq!((of(&batch.key), of(&batch.value)), (known.key.clone(), known.value.clone()));
            let list = batch.headers.value(row);
            let names = list.as_struct().column(0).as_string::<i32>().clone();
            let found: Vec<&str> = (0..list.len()).map(|at| names.value(at)).collect();
            assert!(known.headers.keys().map(|name| &**name).eq(found), "{:?}", known.headers);
        }
    }
    assert!(wanted.next().is_none(), "some are missing");
}

#[test]
fn batches_are_read_as_they_were_encoded() {
    let (mut dice, mut bytes, mut all) = (Dice(7), Vec::new(), Vec::new());
    for n in 0..40 {
        // Compacted: there are holes.
        let records =
            known(&mut dice, (n * 1000..n * 1000 + 700).step_by(1 + usize::try_from(n % 3).unwrap()));
        bytes.extend(encoded(&records));
        all.extend(records);
    }
    let next = all.last().expect("some").offset + 1;
    let whole = bytes.len();
    // The last one is cut off.
    bytes.extend(&encoded(&known(&mut dice, 50_000..50_100))[..500]);
    let chunk = Chunk::new(bytes, vec![]).expect("batches");
    assert_eq!(chunk.next(), next);
    assert!(chunk.size() >= whole, "all that it takes is counted");
    assert_are(&read(chunk, 0).expect("good ones"), &all);
}

#[test]
fn each_codec_is_unpacked() {
    let records = known(&mut Dice(3), 10..900);
    let plain = encoded(&records);
    let body = &plain[HEADER..];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut gzip, body).unwrap();
    std::io::Write::write_all(&mut lz4, body).unwrap();
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let mut xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in body.chunks(32 << 10) {
        let packed = snappy(block);
        xerial.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
        xerial.extend(packed);
    }
    // With its length and, as Java writes it, without.
    let zstd = zstd::bulk::compress(body, 1).unwrap();
    let streamed = zstd::stream::encode_all(body, 3).unwrap();
    let packed = [
        (1, gzip.finish().unwrap()),
        (2, snappy(body)),
        (2, xerial),
        (3, lz4.finish().unwrap()),
        (4, zstd),
        (4, streamed),
    ];
    for (codec, packed) in packed {
        let mut batch = plain[..HEADER].to_vec();
        batch[22] = codec;
        batch.extend(&packed);
        let batch = sealed(batch);
        // Twice, in one chunk: what unpacks is used again. The second one has old offsets only.
        let chunk = Chunk::new([batch.clone(), batch.clone()].concat(), vec![]).expect("batches");
        assert_are(&read(chunk, 0).unwrap_or_else(|e| panic!("codec {codec}: {e:?}")), &records);
        // Cut off within what is packed: never a panic, never more.
        let mut short = batch;
        short.truncate(HEADER + packed.len() / 2);
        let cut = read(Chunk::new(sealed(short), vec![]).expect("a batch"), 0);
        assert!(matches!(cut, Err(Fault::Corrupt(_))), "codec {codec}");
    }
    let mut batch = plain;
    batch[22] = 5;
    let unknown = read(Chunk::new(sealed(batch), vec![]).expect("a batch"), 0);
    assert!(matches!(&unknown, Err(Fault::Foreign(e)) if e.to_string().contains("codec 5")), "{unknown:?}");
}

#[test]
fn what_unpacks_without_end_is_refused() {
    let bomb = vec![0_u8; 70 << 20];
    let snappy = snap::raw::Encoder::new().compress_vec(&bomb).unwrap();
    let zstd = zstd::bulk::compress(&bomb, 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &bomb).unwrap();
    for (codec, packed) in [(1, gzip.finish().unwrap()), (2, snappy), (4, zstd)] {
        let mut unpacker = Unpacker::default();
        let refused = unpacker.unpack(codec, &packed);
        assert!(
            matches!(&refused, Err(Fault::Foreign(e)) if e.to_string().contains("64 MiB")),
            "{refused:?}"
        );
        assert!(unpacker.bytes().len() <= (64 << 20) + 1);
    }
}

/// Offsets 0..=2 of producer 7 came to nothing, 3..=4 of producer 8 are true, 5 is of no transaction; the markers are
/// at 6 and 7. From 8 on producer 7 has a transaction that is true.
#[test]
fn transactions_that_came_to_nothing_are_passed_over() {
    let mut dice = Dice(5);
    let mut batch = |offsets: std::ops::RangeInclusive<i64>| encoded(&known(&mut dice, offsets));
    let bytes = [
        of_transaction(batch(0..=1), 16, 7),
        of_transaction(batch(3..=3), 16, 8),
        of_transaction(batch(2..=2), 16, 7),
        of_transaction(batch(4..=4), 16, 8),
        batch(5..=5),
        marker(6, 7, 0),
        marker(7, 8, 1),
        of_transaction(batch(8..=9), 16, 7),
        marker(10, 7, 1),
    ];
    let aborted = vec![Aborted { first: 0, producer: 7 }];
    let chunk = Chunk::new(bytes.concat(), aborted).expect("batches");
    assert_eq!(chunk.next(), 11);
    // Offset 2 comes behind 3 here, as no broker has it: only who collects minds.
    assert_eq!(offsets(&read(chunk, 0).expect("good ones")), [3, 4, 5, 8, 9]);
    let all = Chunk::new(bytes.concat(), vec![]).expect("batches");
    assert_eq!(offsets(&read(all, 0).expect("good ones")), [0, 1, 3, 4, 5, 8, 9]);
}

#[test]
fn the_brokers_time_is_that_of_all() {
    let mut batch = encoded(&known(&mut Dice(2), 0..5));
    batch[22] |= 8;
    batch[35..43].copy_from_slice(&1_600_000_000_123_i64.to_be_bytes());
    let batches = read(Chunk::new(sealed(batch), vec![]).expect("a batch"), 0).expect("a good one");
    assert_eq!(batches[0].timestamp.values().to_vec(), [1_600_000_000_123_000; 5]);
}

#[test]
fn what_is_damaged_or_foreign_says_where() {
    let good = encoded(&known(&mut Dice(2), 40..50));
    let mut flipped = good.clone();
    flipped[HEADER + 20] ^= 1;
    let fault = read(Chunk::new(flipped, vec![]).expect("a batch"), 0);
    assert!(
        matches!(&fault, Err(Fault::Corrupt(why)) if why.contains("offset 40 does not match")),
        "{fault:?}"
    );
    let mut old = good.clone();
    old[16] = 1;
    let fault = read(Chunk::new(old, vec![]).expect("a batch"), 0);
    assert!(matches!(&fault, Err(Fault::Foreign(e)) if e.to_string().contains("format 1")), "{fault:?}");
    let mut more = good.clone();
    more[57..61].copy_from_slice(&11_i32.to_be_bytes());
    let fault = read(Chunk::new(sealed(more), vec![]).expect("a batch"), 0);
    assert!(matches!(&fault, Err(Fault::Corrupt(why)) if why.contains("cut off")), "{fault:?}");
    for cut in [0, 11, 16, 60, good.len() - 1] {
        assert!(Chunk::new(good[..cut].to_vec(), vec![]).is_none(), "{cut} bytes are no batch");
    }
}

/// Whatever bytes there are, with checksums that are right: no panic, and offsets go up. (The crate's own decoder
/// believes a count of headers before it has looked: a byte can have it ask for 100 GB.)
#[test]
fn damaged_batches_are_read_or_refused() {
    let rounds = std::env::var("TIDEMILL_RECORDS_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let (mut dice, mut refused) = (Dice(11), 0);
    for _ in 0..rounds {
        let count = 1 + i64::try_from(dice.below(5)).unwrap_or(0);
        let mut batch = encoded(&known(&mut dice, 0..count));
        for _ in 0..dice.below(4) {
            // Its length is what tells where it ends.
            let at = BEFORE + dice.below(batch.len() - BEFORE);
            batch[at] = u8::try_from(dice.below(256)).unwrap_or(0);
        }
        let Some(chunk) = Chunk::new(sealed(batch), vec![Aborted { first: 1, producer: -1 }]) else {
            continue;
        };
        match read(chunk, i64::MIN) {
            Ok(batches) => assert!(offsets(&batches).is_sorted_by(|one, next| one < next)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > rounds / 50, "only {refused} of {rounds} were refused");
}

/// What fills the room that it was given to the last byte is all the same at its end.
#[test]
fn what_just_fits_is_whole() {
    let mut unpacker = Unpacker::default();
    for length in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 128 << 10, 1 << 20] {
        let body = vec![7_u8; length];
        for packed in
            [zstd::bulk::compress(&body, 1).unwrap(), zstd::stream::encode_all(&body[..], 1).unwrap()]
        {
            unpacker.unpack(4, &packed).unwrap_or_else(|e| panic!("{length}: {e:?}"));
            assert!(unpacker.bytes() == body, "{length}");
        }
    }
}
