//! What every catalog must do, as one test that each implementation runs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;

use super::{Catalog, TableSpec};
use crate::error::Kind;
use crate::generations::Place;
use crate::table::{Hour, Table, Zone, headers_type, timestamp_type};

/// A look into a catalog past its interface.
#[async_trait]
pub(super) trait Probe: Sync {
    /// Names and types of a table's columns.
    async fn columns(&self, table: &str) -> Vec<(String, String)>;
    /// The locations of a table's partitions.
    async fn locations(&self, table: &str) -> Vec<String>;
}

/// A table with an event time and these columns.
pub(super) fn spec(name: &str, more: &[(&str, DataType)], location: &str) -> TableSpec {
    let mut fields = vec![Field::new("timestamp", timestamp_type(), false)];
    fields.extend(more.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)));
    let schema = Arc::new(Schema::new(fields));
    let table = Table { name: name.into(), zone: Zone::Processed, schema, event_time: 0, sorted: true };
    TableSpec::new(Arc::new(table), location)
}

/// Runs the suite against an empty catalog, seen by two hosts.
pub(super) async fn conforms(one: &dyn Catalog, other: &dyn Catalog, probe: &dyn Probe, lake: &str) {
    let at = |table: &str| format!("{lake}/{table}");
    let text = |columns: &[(&str, &str)]| -> Vec<(String, String)> {
        columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
    };

    // Tables are made, and making them again is success.
    let plain = spec("plain", &[("user_id", DataType::Utf8)], &at("plain"));
    let rich = [("n", DataType::Int64), ("headers", headers_type()), ("price", DataType::Decimal128(18, 2))];
    let rich = TableSpec {
        description: Some("all kinds of columns".into()),
        merge: [("n".to_owned(), "sum".to_owned())].into(),
        ..spec("rich", &rich, &at("rich"))
    };
    for host in [one, other, one] {
        host.ensure(&[plain.clone(), rich.clone()]).await.expect("tables can be made");
    }
    assert_eq!(probe.columns("plain").await, text(&[("timestamp", "timestamp"), ("user_id", "string")]));
    let headers = "array<struct<name:string,value:binary>>";
    assert_eq!(
        probe.columns("rich").await,
        text(&[
            ("timestamp", "timestamp"),
            ("n", "bigint"),
            ("headers", headers),
            ("price", "decimal(18,2)")
        ])
    );

    // Hours are registered once, whoever does it and however often; also more than a service takes at once.
    let hours: Vec<Hour> = (0..230).map(|n| Hour(490_000 + n)).collect();
    let places: Vec<Place> = hours.iter().map(|hour| (*hour).into()).collect();
    one.register(&plain, &places[..3]).await.expect("new hours");
    for host in [other, one, other] {
        host.register(&plain, &places).await.expect("old and new hours");
    }
    one.register(&plain, &[]).await.expect("nothing");
    let mut wanted: Vec<String> = hours.iter().map(|hour| format!("{}/{hour}", plain.location)).collect();
    let mut found = probe.locations("plain").await;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);

    // What the catalog itself says of them is the same, in order.
    let listed = one.partitions("plain").await.expect("there").expect("it can tell");
    let of = |hour: &Hour| {
        let (date, of_day) = hour.values();
        (date, of_day, format!("{}/{hour}", plain.location))
    };
    assert_eq!(listed, hours.iter().map(of).collect::<Vec<_>>());
    assert_eq!(other.partitions("rich").await.expect("there"), Some(vec![]));
    let error = other.partitions("unknown").await.expect_err("nobody made it");
    assert!(error.kind() == Kind::Stop && error.to_string().contains("`unknown`"), "{error}");

    // Absurd hours share the places at the calendar's edges.
    let absurd = [Hour(i64::MIN), Hour(i64::MIN + 1), Hour(i64::MAX), Hour(i64::MAX - 1)].map(Place::from);
    other.register(&rich, &absurd).await.expect("absurd hours");
    assert_eq!(probe.locations("rich").await.len(), 2);

    // A rewritten hour goes ahead to its later generation, whoever says so, and back to none; only what was taken
    // away begins where it is told.
    let later = |generation: u32| Place { hour: hours[0], generation };
    let shown = async || {
        let (date, of_day) = hours[0].values();
        let listed = one.partitions("plain").await.expect("there").expect("it can tell");
        listed.into_iter().find(|(d, h, _)| (d, h) == (&date, &of_day)).map(|(_, _, address)| address)
    };
    one.register(&plain, &[later(3)]).await.expect("a later generation");
    assert_eq!(shown().await, Some(format!("{}/_gen/3/{}", plain.location, hours[0])));
    other.forget("plain");
    for older in [1, 2] {
        other.register(&plain, &[later(older)]).await.expect("who has read less of the log changes nothing");
    }
    assert_eq!(shown().await, Some(plain.partition(later(3))));
    for host in [one, other] {
        host.withdraw(&plain, &hours[..1]).await.expect("once more is success");
    }
    assert_eq!(shown().await, None);
    one.register(&plain, &[later(4)]).await.expect("it comes back");
    assert_eq!(shown().await, Some(plain.partition(later(4))));

    // Columns are added, and a host of the older version takes none away.
    let wider = spec("plain", &[("device", DataType::Utf8), ("user_id", DataType::Utf8)], &at("plain"));
    let columns = text(&[("timestamp", "timestamp"), ("user_id", "string"), ("device", "string")]);
    for spec in [&wider, &plain, &wider] {
        one.ensure(std::slice::from_ref(spec)).await.expect("a column more");
        assert_eq!(probe.columns("plain").await, columns);
    }

    // Another type is refused, by name and types, and changes nothing.
    let changed = spec("plain", &[("new", DataType::Utf8), ("user_id", DataType::Int64)], &at("plain"));
    let error = other.ensure(&[changed]).await.expect_err("another type");
    let message = error.to_string();
    assert_eq!(error.kind(), Kind::Stop, "{message}");
    for part in ["`plain`", "`user_id`", "string", "bigint"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(probe.columns("plain").await, columns);

    // So are another place, the name of a partition column, and a type that readers do not know.
    for (refused, part) in [
        (spec("plain", &[], &at("elsewhere")), at("elsewhere")),
        (spec("dated", &[("date", DataType::Utf8)], &at("dated")), "`date`".to_owned()),
        (spec("odd", &[("u", DataType::UInt64)], &at("odd")), "UInt64".to_owned()),
    ] {
        let error = one.ensure(&[refused]).await.expect_err(&part);
        assert_eq!(error.kind(), Kind::Stop, "{error}");
        assert!(error.to_string().contains(&part), "{error}");
    }

    // Hours of a table that nobody made are no success.
    let unknown = spec("unknown", &[], &at("unknown"));
    assert!(one.register(&unknown, &places[..1]).await.is_err());
}
