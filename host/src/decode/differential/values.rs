//! Values of members: of all kinds, in all spellings.

use super::random::Random;

/// What a member usually has.
#[derive(Clone, Copy)]
pub(super) enum Usual {
    Text,
    Integer,
    Float,
    Boolean,
    Time,
    Day,
    Money,
    Context,
    Tags,
    Other,
}

pub(super) fn value(usual: Usual, random: &mut Random) -> String {
    if random.one_in(12) {
        return "null".into();
    }
    if random.one_in(60) {
        return anything(random, 0);
    }
    match usual {
        Usual::Text => text(random),
        Usual::Integer => integer(random),
        Usual::Float => number(random),
        Usual::Boolean => random.pick(&["true", "false"]).into(),
        Usual::Time => quoted(random.pick(&[
            "2025-12-02T10:00:00Z",
            "2025-12-02T10:00:00.123456+01:00",
            "2025-12-02t10:00:00z",
            "2025-12-02T10:00:00",
            "0001-01-01T00:00:00Z",
            "2025-12-02T10\\u003a00:00Z",
        ])),
        Usual::Day => {
            quoted(random.pick(&["2025-12-02", "0000-01-01", "2025-13-02", "9999-12-31", "2025-1-2"]))
        }
        Usual::Money => random
            .pick(&[
                "12.50",
                "\"12.5\"",
                "-0.07",
                "1e3",
                "99999999.99",
                "123456789.01",
                "0",
                "\"\\u0031.0\"",
                "1.234",
            ])
            .into(),
        Usual::Context => {
            let inner = [
                format!("\"ip\":{}", text(random)),
                format!("\"geo\":{{\"lat\":{},\"lon\":{}}}", number(random), number(random)),
                format!("\"c~d\":{}", integer(random)),
                format!("\"x\":{}", anything(random, 2)),
                "\"ip\":\"again\"".into(),
                "\"\\u0069p\":\"escaped\"".into(),
                "\"\\ud800\":1".into(),
            ];
            let some: Vec<&str> = inner
                .iter()
                .enumerate()
                .filter(|(at, _)| random.one_in(if *at < 4 { 2 } else { 40 }))
                .map(|(_, t)| t.as_str())
                .collect();
            format!("{{{}}}", some.join(","))
        }
        Usual::Tags => {
            let some: Vec<String> = (0..random.below(4)).map(|_| text(random)).collect();
            format!("[{}]", some.join(", "))
        }
        Usual::Other => anything(random, 0),
    }
}

fn quoted(content: &str) -> String {
    format!("\"{content}\"")
}

const PLAIN: &[u8] = b"abcdefghijklmnopqrstuvwxyz 0123456789_-{}[]:,/";

fn text(random: &mut Random) -> String {
    let len = match random.below(8) {
        0 => 0,
        // About as long as a block.
        1 => 28 + random.below(8),
        2 => random.below(150),
        _ => random.below(20),
    };
    let mut content = String::new();
    while content.len() < len {
        match random.below(60) {
            0 => content.push_str(random.pick(&["\\n", "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t"])),
            1 => {
                content.push_str(random.pick(&["\\u00e9", "\\u0000", "\\u20AC", "\\uFFFF", "\\ud83d\\ude00"]))
            }
            2 if random.one_in(8) => content.push_str(random.pick(&[
                "\\ud800",
                "\\udc00",
                "\\ud800\\u0041",
                "\\ud83d\\ud83d",
                "\\ud83d\\n",
                "\\u00g0",
                "\\x",
                "\\u12",
                "\\ud83d\\udE",
            ])),
            3 => content.push_str(random.pick(&["é", "€", "😀", "\u{7f}", "\u{feff}", "\u{2028}", "ß"])),
            4 if random.one_in(8) => content.push_str(random.pick(&["\n", "\t", "\u{0}", "\u{1f}", "\""])),
            _ => content.push(char::from(PLAIN[random.below(PLAIN.len())])),
        }
    }
    quoted(&content)
}

fn integer(random: &mut Random) -> String {
    if random.one_in(4) {
        return number(random);
    }
    let minus = random.pick(&["", "", "", "-"]);
    let digits = 1 + random.below(19);
    format!("{minus}{}", random.next() % 10u64.pow(u32::try_from(digits).unwrap()))
}

const SPELLINGS: [&str; 50] = [
    "0",
    "-0",
    "1",
    "-1",
    "0.0",
    "-0.0",
    "0e0",
    "1.5",
    "-1.5e3",
    "1E5",
    "1e+5",
    "1e-5",
    "2.5e-1",
    "0.1",
    "1e999",
    "-1e999",
    "1e-999",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999",
    "-999999999999999999",
    "1000000000000000000",
    "100000000000000000000",
    "1.7976931348623157e308",
    "4.9e-324",
    "123456.789",
    "0.000000000000001",
    "0.0000000000000000000000001",
    "999999999999999.9",
    "99999999999999.9",
    "123456789012345.6789",
    "12345678.12345678",
    "3.141592653589793238462643383279",
    // Those are none.
    "01",
    "-01",
    "1.",
    "1.e5",
    ".5",
    "-",
    "+1",
    "1e",
    "1e+",
    "0x10",
    "NaN",
    "1_000",
];

fn number(random: &mut Random) -> String {
    match random.below(12) {
        0 if random.one_in(3) => SPELLINGS[38 + random.below(12)].into(),
        0..=3 => SPELLINGS[random.below(38)].into(),
        4 => format!("{}e{}", random.next() % 10_000, random.below(40)),
        5 => format!("{:e}", f64::from_bits(random.next() >> 2)),
        _ => {
            let (whole, fraction) = (random.below(8), 1 + random.below(9));
            let minus = random.pick(&["", "", "-"]);
            let whole = random.next() % 10u64.pow(u32::try_from(whole).unwrap());
            format!(
                "{minus}{whole}.{:0fraction$}",
                random.next() % 10u64.pow(u32::try_from(fraction).unwrap())
            )
        }
    }
}

fn anything(random: &mut Random, level: usize) -> String {
    if level == 0 && random.one_in(40) {
        return deep(random);
    }
    match random.below(if level < 4 { 12 } else { 9 }) {
        0..=2 => text(random),
        3 | 4 => number(random),
        5 => "true".into(),
        6 => "false".into(),
        7 => "null".into(),
        8 => random
            .pick(&[
                "{}",
                "[]",
                "{ }",
                "[ ]",
                "tru",
                "nulll",
                "[1,]",
                "{\"a\":1,}",
                "[,1]",
                "{1:2}",
                "{\"a\"}",
                "[1 2]",
                "{\"a\":1]",
            ])
            .into(),
        9 | 10 => {
            let some: Vec<String> = (0..random.below(4))
                .map(|_| format!("{}:{}", text(random), anything(random, level + 1)))
                .collect();
            format!("{{{}}}", some.join(","))
        }
        _ => {
            let some: Vec<String> = (0..random.below(4)).map(|_| anything(random, level + 1)).collect();
            format!("[{}]", some.join(" , "))
        }
    }
}

/// About as deep as is allowed, or as the fast paths follow, or with brackets in strings.
fn deep(random: &mut Random) -> String {
    let levels = [58, 59, 60, 61, 62, 63, 64, 65, 126, 127, 128, 129, 200][random.below(13)];
    match random.below(4) {
        0 => format!("{}{}", "[".repeat(levels), "]".repeat(levels)),
        1 => format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels)),
        2 => quoted(&"[{".repeat(levels)),
        _ => format!("{}null{}", "[{\"a\": ".repeat(levels / 2), "} ]".repeat(levels / 2)),
    }
}
