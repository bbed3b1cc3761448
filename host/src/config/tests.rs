use super::*;

fn flags(values: &[(&'static str, &str)]) -> Flags {
    Flags { values: values.iter().map(|(k, v)| (*k, v.to_string())).collect(), ..Flags::default() }
}

fn env(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn file(text: &str) -> Option<(String, String)> {
    Some(("t.toml".into(), text.into()))
}

fn error(flag: Flags, text: &str) -> String {
    Layers::merge(&flag, &[], file(text)).and_then(|l| Config::of(&l)).unwrap_err().to_string()
}

#[test]
fn nothing_said_is_the_reference_deployment() {
    let config = Config::of(&Layers::merge(&Flags::default(), &[], None).unwrap()).unwrap();
    assert_eq!(config.topic, "user-events");
    assert_eq!(config.raw.to_string(), "s3://user-events-raw");
    assert_eq!(config.processed.to_string(), "s3://user-events-processed");
    assert_eq!(config.database, "user_analytics_db");
    assert_eq!(config.pipeline, "tidemill");
    assert_eq!(config.catalog, CatalogKind::Glue);
    assert_eq!(config.commit_interval, Duration::from_secs(5));
}

#[test]
fn flags_go_before_environment_before_file() {
    let text = "group = 'file'\ntopic = 'file'\nbrokers = 'file'\nlanes = 3\nuntil-end = true";
    let environment = env(&[("TIDEMILL_GROUP", "env"), ("TIDEMILL_TOPIC", "env"), ("PATH", "/")]);
    let layers = Layers::merge(&flags(&[("group", "flag")]), &environment, file(text)).unwrap();
    let config = Config::of(&layers).unwrap();
    assert_eq!((&*config.group, &*config.topic, &*config.brokers), ("flag", "env", "file"));
    assert_eq!((config.lanes, config.until_end, &*config.pipeline), (3, true, "flag"));
    let printed = config.print(&layers);
    assert!(printed.contains("group = \"flag\"  # flag"), "{printed}");
    assert!(printed.contains("topic = \"env\"  # environment TIDEMILL_TOPIC"), "{printed}");
    assert!(printed.contains("lanes = 3  # t.toml"), "{printed}");
}

#[test]
fn the_cache_is_this_users() {
    let cache = |flag: &[(&'static str, &str)], environment: &[(&str, &str)]| {
        let layers = Layers::merge(&flags(flag), &env(environment), None).unwrap();
        Config::of(&layers).unwrap().cache.map(|c| c.display().to_string()).unwrap_or_default()
    };
    assert_eq!(cache(&[], &[]), "");
    assert_eq!(cache(&[], &[("HOME", "/h")]), "/h/.cache/tidemill");
    assert_eq!(cache(&[], &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/tidemill");
    assert_eq!(cache(&[], &[("HOME", "/h"), ("XDG_CACHE_HOME", "")]), "/h/.cache/tidemill");
    assert_eq!(cache(&[("cache", "c")], &[("HOME", "/h")]), "c");
    assert_eq!(cache(&[("cache", "")], &[("HOME", "/h")]), "");
}

#[test]
fn unknown_keys_name_the_nearest() {
    let e = error(Flags::default(), "commit_interval = '1s'");
    assert_eq!(e, "t.toml: unknown key `commit_interval`; did you mean `commit-interval`?");
    assert!(error(Flags::default(), "[table.x]").contains("`tables`"));
    assert!(error(Flags::default(), "[tables.x]\nprovenence = true").contains("`provenance`"));
    assert!(error(Flags::default(), "[tables.x]\nprojectoin = true").contains("`projection`"));
    assert!(error(Flags::default(), "[tables.x]\nprojection-days = 9").contains("`projection = true`"));
    assert!(
        error(Flags::default(), "[tables.x]\nprojection = true\nprojection-days = 0").contains("from 1 to")
    );
}

#[test]
fn bad_values_name_setting_value_and_source() {
    let e = error(flags(&[("commit-interval", "5")]), "");
    assert!(e.starts_with("setting `commit-interval` is \"5\" (flag); expected a duration"), "{e}");
    assert!(error(flags(&[("lanes", "0")]), "").contains("1 to 64"));
    assert!(error(flags(&[("memory", "1MiB")]), "").contains("64MiB"));
    assert!(error(flags(&[("start", "now")]), "").contains("earliest or latest"));
    assert!(error(flags(&[("catalog", "local")]), "").contains("glue or none"));
    assert!(error(flags(&[("transforms", "gs://b/t")]), "").contains("s3://bucket/prefix"));
    assert!(error(flags(&[("trusted-keys", "x")]), "").contains("`trusted-keys`"));
    assert!(error(flags(&[("auth", "kerberos")]), "").contains("msk-iam"));
    assert!(
        error(flags(&[("auth", "msk-iam")]), "[librdkafka]\nsasl.mechanisms = 'PLAIN'")
            .contains("contradict")
    );
    assert!(error(flags(&[("pulse", "10")]), "").contains("duration"));
    assert!(error(Flags::default(), "[librdkafka]\ngroup.id = 'x'").contains("`group`"));
}

#[test]
fn secrets_are_masked_and_the_rest_reads_back() {
    let mut given = flags(&[("processed", "file:///lake"), ("raw", "file:///raw")]);
    given.librdkafka = vec![
        "sasl.password=hunter2".into(),
        "ssl.key.location=/k.pem".into(),
        "queued.min.messages=5".into(),
    ];
    let layers =
        Layers::merge(&given, &env(&[("TIDEMILL_LIBRDKAFKA", "a.b=c,queued.min.messages=1")]), None).unwrap();
    let config = Config::of(&layers).unwrap();
    assert_eq!(config.librdkafka["queued.min.messages"], "5");
    let printed = config.print(&layers);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("/k.pem"), "{printed}");
    let again = Config::of(&Layers::merge(&Flags::default(), &[], file(&printed)).unwrap()).unwrap();
    assert_eq!(again.librdkafka["sasl.password"], "********");
    assert_eq!(
        Config { librdkafka: BTreeMap::new(), ..again },
        Config { librdkafka: BTreeMap::new(), ..config }
    );
}
