//! Every day of the calendar, every zone, every single-byte change of a valid text.

use super::*;
use crate::time::Date;

fn micros(text: &str) -> Option<i64> {
    timestamp(text).map(|timestamp| timestamp.0)
}

#[test]
fn every_day_of_ten_thousand_years_follows_the_one_before() {
    let mut day = -719_528;
    for year in 0..10_000 {
        for month in 1..=99 {
            for date in 0..=32 {
                if let Some(days) = days(year / 100, year % 100, month, date) {
                    assert_eq!(days, i64::from(day), "{year}-{month}-{date}");
                    assert_eq!(Date(day).to_string(), format!("{year:04}-{month:02}-{date:02}"));
                    day += 1;
                }
            }
        }
    }
    assert_eq!(Date(day).to_string(), "10000-01-01");
}

#[test]
fn what_is_displayed_is_read_back() {
    // Linear congruential: random enough to reach every digit.
    let mut random: u64 = 1;
    for _ in 0..200_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let all = i64::try_from(random >> 2).expect("62 bits").rem_euclid(10_000 * 365 * Timestamp::DAY);
        let timestamp = Timestamp(all - 719_528 * Timestamp::DAY);
        assert_eq!(super::timestamp(&timestamp.to_string()), Some(timestamp), "{timestamp}");
    }
}

#[test]
fn separators_fractions_and_zones() {
    let base = 1_764_671_400_000_000; // 2025-12-02T10:30:00Z
    for (text, more) in [
        ("2025-12-02T10:30:00Z", 0),
        ("2025-12-02T10:30:00", 0),
        ("2025-12-02 10:30:00Z", 0),
        ("2025-12-02T10:30:00.5Z", 500_000),
        ("2025-12-02T10:30:00,5Z", 500_000),
        ("2025-12-02T10:30:00.123", 123_000),
        ("2025-12-02T10:30:00.123456Z", 123_456),
        ("2025-12-02T10:30:00.123456999Z", 123_456),
        ("2025-12-02T10:30:00.00000099999999999999999999999", 0),
        ("2025-12-02T11:30:00+01:00", 0),
        ("2025-12-02T11:30:00.000001+0100", 1),
        ("2025-12-02T11:30:00+01", 0),
        ("2025-12-02T05:00:00-05:30", 0),
        ("2025-12-02T10:30:00-00:00", 0),
        ("2025-12-03T10:29:00+23:59", 0),
    ] {
        assert_eq!(micros(text), Some(base + more), "{text}");
    }
    assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Some(-1));
    assert_eq!(micros("0000-01-01T00:00:00+23:59"), Some(-62_167_305_540_000_000));
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "",
        "soon",
        "2025-12-02",
        "2025-12-02T10:30",
        "2025-12-02T10:30Z",
        "20251202T103000Z",
        "2025-12-02t10:30:00Z",
        "2025-12-02T10:30:00z",
        "2025-12-02_10:30:00Z",
        "2025-12-02  10:30:00",
        "2025/12/02T10:30:00Z",
        " 2025-12-02T10:30:00Z",
        "2025-12-02T10:30:00Z ",
        "2025-12-02T10:30:00 Z",
        "2025-12-02T10:30:00.Z",
        "2025-12-02T10:30:00.",
        "2025-12-02T10:30:00.1x",
        "2025-12-02T10:30:00ZZ",
        "2025-12-02T10:30:00+1",
        "2025-12-02T10:30:00+1:00",
        "2025-12-02T10:30:00+24:00",
        "2025-12-02T10:30:00+01:60",
        "2025-12-02T10:30:00+01:00Z",
        "2025-12-02T10:30:00*01:00",
        "2025-12-02T10:30:00+01:0",
        "2025-12-02T10:30:00\u{2212}01:00",
        "2025-00-02T10:30:00Z",
        "2025-13-02T10:30:00Z",
        "2025-12-00T10:30:00Z",
        "2025-12-32T10:30:00Z",
        "2025-02-29T10:30:00Z",
        "1900-02-29T10:30:00Z",
        "2025-04-31T10:30:00Z",
        "2025-12-02T24:00:00Z",
        "2025-12-02T10:60:00Z",
        "2025-12-02T10:30:61Z",
        "-025-12-02T10:30:00Z",
        "+02025-12-02T10:30:00Z",
        "2025-12-02T1٠:30:00Z",
        "1764671400",
        "Tue, 02 Dec 2025 10:30:00 GMT",
    ] {
        assert_eq!(micros(text), None, "{text:?}");
    }
    assert!(micros("2000-02-29T10:30:00Z").is_some());
    assert!(micros("2024-02-29T10:30:00Z").is_some());
}

#[test]
fn a_leap_second_is_the_next_day_and_nowhere_else() {
    let midnight = micros("2017-01-01T00:00:00Z");
    assert_eq!(micros("2016-12-31T23:59:60Z"), midnight);
    assert_eq!(micros("2017-01-01T05:29:60+05:30"), midnight);
    assert_eq!(micros("2016-12-31T23:59:60.25Z"), midnight.map(|midnight| midnight + 250_000));
    assert_eq!(micros("2016-12-31T23:58:60Z"), None);
    assert_eq!(micros("2016-12-31T22:59:60Z"), None);
    assert_eq!(micros("2016-12-31T23:59:60+01:00"), None);
    assert_eq!(micros("2016-12-31T23:59:60x"), None);
}

#[test]
fn no_single_byte_can_be_changed_without_changing_or_losing_the_value() {
    let text = "2025-12-02T10:30:45.123456+01:30";
    let value = micros(text);
    for at in 0..text.len() {
        for byte in 0..0x80 {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = byte;
            let changed = String::from_utf8(changed).expect("ASCII");
            let same =
                changed == text || changed == text.replace('T', " ") || changed == text.replace('.', ",");
            let got = micros(&changed);
            assert_eq!(got == value, same, "{changed}");
        }
        assert_ne!(micros(&text[..at]), value);
    }
}

#[test]
fn what_was_read_before_makes_no_difference() {
    let mut timestamps = Timestamps::default();
    let mut check = |text: &str| {
        assert_eq!(timestamps.read(text), timestamp(text), "{text:?}");
        assert_eq!(Timestamps::default().read(text), timestamp(text), "{text:?}");
    };
    check("1970-01-01T00:00:07.089");
    let heads =
        ["2025-12-02T10:30", "2025-12-02 10:30", "2025-12-02T10:31", "2016-12-31T23:59", "2025-13-02T10:30"];
    let heads = heads.iter().chain(&[
        "2025-12-02T10:3x",
        "0000-01-01T00:00",
        "9999-12-31T23:59",
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ]);
    let tails = [
        ":45.123",
        ":45.123Z",
        ":45.123z",
        ":45,123",
        ":45",
        ":45Z",
        ":45.1",
        ":45.12",
        ":45.1234",
        ":45.123456",
        ":59.999",
        ":60.000",
        ":60.000Z",
        ":61.000",
        ":4x.123",
        ":45.12x",
        ".45.123",
        ":45:123",
        ":45.123+01:00",
        ":45.123+01",
        ":00.000",
        "",
        ":4é.12",
        "Z",
    ];
    for head in heads {
        for tail in tails {
            check(&format!("{head}{tail}"));
            for change in 0..head.len() {
                let mut changed = format!("{head}{tail}").into_bytes();
                changed[change] ^= 1;
                check(&String::from_utf8(changed).expect("ASCII is changed to ASCII"));
            }
            check(&format!("{head}:07.089"));
            check(&format!("{head}{tail}"));
        }
    }
    // Every second and millisecond of a minute.
    for second in 0..100 {
        for milli in (0..1000).step_by(7) {
            check(&format!("2025-12-02T10:30:{second:02}.{milli:03}"));
        }
    }
}
