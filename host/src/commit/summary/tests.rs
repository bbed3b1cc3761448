//! The format of summaries and inventories on the store.

use super::super::record::tests::{golden, samples};
use super::*;

/// The view of a log with the first samples: one record of each kind, the kinds of format 1 first.
fn view(samples: Vec<Record>) -> View {
    let mut view = View::default();
    for record in samples {
        view.fold(Arc::new(record));
    }
    view.recent.clear();
    let key = "_tidemill/line/inventory/activity/2025-12-02/000000000004.json";
    let dates = BTreeMap::from([("2025-12-02".to_owned(), vec![key.to_owned()])]);
    view.inventories.insert("activity".into(), dates);
    view
}

#[test]
fn golden_summaries_are_read_and_written_as_ever() {
    for (name, format, records) in [
        ("1-summary", 1, 5),
        ("2-summary", 2, 7),
        ("2-summary-with-a-replay", 2, 8),
        ("3-summary", 3, 11),
        ("4-summary-with-history", 4, 17),
    ] {
        let expected = view(samples().into_iter().take(records).collect());
        let mut bytes = serde_json::to_vec(&expected.summary("line")).unwrap();
        bytes.push(b'\n');
        let bytes = golden(&format!("format-{name}.json"), &bytes);
        let found = View::of("key", serde_json::from_slice(&bytes).unwrap()).unwrap();
        assert_eq!((found.next, &found.topic), (records as u64, &expected.topic));
        assert_eq!((&found.last, &found.maintenance), (&expected.last, &expected.maintenance));
        assert_eq!((&found.fenced, &found.superseded), (&expected.fenced, &expected.superseded));
        assert_eq!((&found.repairs, &found.inventories), (&expected.repairs, &expected.inventories));
        assert_eq!((&found.transforms, found.transforms.is_some()), (&expected.transforms, format >= 2));
        assert_eq!((&found.generations, &found.retired), (&expected.generations, &expected.retired));
        assert_eq!(found.sweeping, expected.sweeping);
        assert_eq!(found.generations.is_empty(), format < 3);
        assert_eq!((&found.covered, found.covered.is_empty()), (&expected.covered, format < 4));
    }
}

#[test]
fn a_golden_inventory_is_read_and_written_as_ever() {
    let [_, epoch, repair, ..] = &samples()[..] else { panic!("one of each kind") };
    let piece = Inventory {
        format: INVENTORY,
        files: repair.files.clone(),
        removed: vec![epoch.files[0].file.key.clone()],
    };
    let bytes = golden("format-1-inventory.json", &serde_json::to_vec(&piece).unwrap());
    let found: Inventory = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((found.files, found.removed), (piece.files, piece.removed));
}

#[test]
fn a_newer_summary_is_refused_by_name() {
    let error = check_format("summaries/7.json", br#"{"format":9}"#).unwrap_err().to_string();
    assert!(
        error.starts_with("summaries/7.json has format 9, this version of tidemill reads up to 4"),
        "{error}"
    );
}
