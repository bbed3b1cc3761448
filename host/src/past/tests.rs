use std::io::Write;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};

use super::*;
use crate::table::{no_headers, raw};

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8], format: Format) -> File {
    let path = folder.path().join(name);
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    let (place, bytes, packing) = (Place::Disk(path), bytes.len() as u64, Packing::Plain);
    File { name: name.into(), place, bytes, format, packing, read: Arc::default() }
}

fn types() -> BTreeMap<String, DataType> {
    BTreeMap::from([("n".to_owned(), DataType::Int64), ("t".to_owned(), DataType::Utf8)])
}

/// Values by the number of their row, and the rows that are wrong.
fn read(reader: &mut Reader, most: i64) -> (Vec<(i64, String)>, Vec<i64>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.read(most).unwrap() {
        assert_eq!((chunk.events.len(), chunk.to), (1, reader.at()));
        let events = &chunk.events[0];
        assert_eq!(events.offset.values().first().copied(), Some(chunk.from));
        for row in 0..events.len() {
            rows.push((
                events.offset.value(row),
                String::from_utf8_lossy(events.value.value(row)).into_owned(),
            ));
        }
        wrong.extend(chunk.wrong.iter().map(|(row, _)| *row));
    }
    (rows, wrong)
}

#[test]
fn lines_are_rows_and_numbered_however_they_are_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = b"{\"n\":1}\r\n\n  \n{\"n\":2}\n{\"n\":3}\nnot json\n{\"n\":5}";
    let file = file(&folder, "a.json", text, Format::Json);
    let expected: Vec<(i64, String)> = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, "not json", r#"{"n":5}"#]
        .map(str::to_owned)
        .into_iter()
        .zip(0..)
        .map(|(v, n)| (n, v))
        .collect();
    for most in [1, 2, 100] {
        let mut reader = Reader::open(&file, &types()).unwrap();
        assert_eq!(read(&mut reader, most), (expected.clone(), vec![]));
        let mut reader = Reader::open(&file, &types()).unwrap();
        assert!(reader.go(3).unwrap());
        assert_eq!(read(&mut reader, most).0, expected[3..]);
        assert!(!reader.go(9).unwrap() && reader.at() == 5);
    }
    assert!(file.read.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

#[test]
fn rows_of_csv_are_objects_of_their_header() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = b"\xef\xbb\xbfn,t,\"o,\"\"p\"\n1,2,\n,\"a\nb\",x\nx,y\n";
    let file = file(&folder, "a.csv", text, Format::Csv);
    let mut reader = Reader::open(&file, &types()).unwrap();
    let (rows, wrong) = read(&mut reader, 100);
    let rows: Vec<String> = rows.into_iter().map(|(_, value)| value).collect();
    assert_eq!(rows, [r#"{"n":1,"t":"2"}"#, r#"{"t":"a\nb","o,\"p":"x"}"#, r#"{"n":"x","t":"y"}"#]);
    assert_eq!(wrong, [2], "it has a column less than the header");
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn events_of_a_raw_zone_stay_what_they_are() {
    let folder = tempfile::TempDir::new().unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["t"; 4])),
        Arc::new(Int32Array::from(vec![1, 0, 1, 0])),
        Arc::new(Int64Array::from(vec![7, 3, 9, 4])),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC")),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"k"), None, None, None])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), Some(b"b"), None, Some(b"d")])),
        Arc::new(no_headers(4)),
    ];
    let batch = RecordBatch::try_new(raw("t").schema, columns).unwrap();
    let whole = file(&folder, "a.parquet", &parquet(&batch), Format::Parquet);
    let mut reader = Reader::open(&whole, &types()).unwrap();
    assert!(reader.raw);
    let chunk = reader.read(100).unwrap().unwrap();
    let said: Vec<_> = chunk
        .events
        .iter()
        .map(|e| (e.partition, e.offset.values().to_vec(), (e.from, e.to), e.timestamp.values().to_vec()))
        .collect();
    assert_eq!(said, [(0, vec![3, 4], (3, 5), vec![2, 4]), (1, vec![7, 9], (7, 10), vec![1, 3])]);
    assert!(chunk.events[1].value.is_null(1) && chunk.events[1].key.value(0) == b"k");
    assert!(reader.read(100).unwrap().is_none() && reader.at() == 4);
    // From a row on, a row at a time.
    let mut reader = Reader::open(&whole, &types()).unwrap();
    assert!(reader.go(2).unwrap());
    let chunks: Vec<Chunk> = std::iter::from_fn(|| reader.read(1).unwrap()).collect();
    assert_eq!(
        chunks.iter().map(|chunk| (chunk.from, chunk.events[0].offset.value(0))).collect::<Vec<_>>(),
        [(2, 9), (3, 4)]
    );
    // Without one of its columns it is a file like any other.
    let part = file(&folder, "b.parquet", &parquet(&batch.project(&[0, 1, 2, 3]).unwrap()), Format::Parquet);
    let mut reader = Reader::open(&part, &types()).unwrap();
    assert!(!reader.raw);
    let (rows, _) = read(&mut reader, 3);
    assert_eq!(
        rows[0].1,
        r#"{"topic":"t","partition":1,"offset":7,"timestamp":"1970-01-01T00:00:00.000001Z"}"#
    );
    assert_eq!(rows.len(), 4);
}

#[test]
fn what_is_no_such_file_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let no = file(&folder, "no.parquet", b"PAR1 or not", Format::Parquet);
    let error = Reader::open(&no, &types()).err().unwrap().to_string();
    assert!(error.starts_with("no.parquet cannot be read: "), "{error}");
    let packed = File { packing: Packing::Gzip, ..file(&folder, "no.json", b"{}\n", Format::Json) };
    let error = Reader::open(&packed, &types()).unwrap().read(1).err().unwrap().to_string();
    assert!(error.starts_with("no.json cannot be read: "), "{error}");
}
