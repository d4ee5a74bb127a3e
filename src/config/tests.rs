use std::{fs, path::PathBuf, time::Duration};

use super::*;

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().copied().collect();
    Sources { environment, ..Sources::default() }
}

fn with_file(text: &str, mut sources: Sources) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("apolo.toml");
    fs::write(&path, text).unwrap();
    sources.file = Some(path);
    (dir, sources)
}

fn errors_of(sources: &Sources) -> String {
    load(sources).unwrap_err().to_string()
}

#[test]
fn what_nobody_sets_has_the_documented_default() {
    let Loaded { config, warnings } = load(&Sources::default()).unwrap();

    assert_eq!(config.data_dir, PathBuf::from("./apolo-data"));
    assert_eq!(config.http_addr.to_string(), "0.0.0.0:3000");
    assert_eq!(config.quic_addr.to_string(), "0.0.0.0:7400");
    assert_eq!(config.discord_api.as_str(), "https://discord.com/api/v10");
    assert_eq!(config.intents, Intents::UNPRIVILEGED);
    assert_eq!(config.guilds_per_shard, 100_000);
    assert_eq!(config.health_check_interval, Duration::from_secs(30));
    assert_eq!(config.shard_timeout, Duration::from_secs(180));
    assert_eq!(config.shard_spawn_delay, Duration::ZERO);
    assert_eq!(config.total_shards, None);
    assert_eq!(config.origin("name"), Origin::Host);
    assert!(!config.name.is_empty());
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_nearest_source_wins_and_is_remembered() {
    let (_dir, mut sources) = with_file(
        "http-addr = '127.0.0.1:1'\nquic-addr = '127.0.0.1:1'\nname = 'from-file'",
        environment(&[("APOLO_HTTP_ADDR", "127.0.0.1:2"), ("APOLO_QUIC_ADDR", "127.0.0.1:2")]),
    );
    sources.flags.insert("http-addr", "127.0.0.1:3".to_owned());

    let config = load(&sources).unwrap().config;

    assert_eq!(config.http_addr.port(), 3);
    assert_eq!(config.quic_addr.port(), 2);
    assert_eq!(config.name, "from-file");
    assert_eq!(config.origin("http-addr"), Origin::Flag("http-addr"));
    assert_eq!(
        config.origin("quic-addr").to_string(),
        "from the environment variable APOLO_QUIC_ADDR"
    );
    assert!(config.origin("name").to_string().ends_with("apolo.toml, line 3"));
}

#[test]
fn the_seeds_names_are_understood_and_count_milliseconds() {
    let config = load(&environment(&[
        ("SHARDS_PER_POD", "3"),
        ("USERS_PER_SHARD", "2000"),
        ("HEALTH_CHECK_INTERVAL", "15000"),
        ("SHARD_TIMEOUT", "90000"),
        ("SHARD_SPAWN_DELAY", "10000"),
        ("POD_ORDINAL", "7"),
    ]))
    .unwrap()
    .config;

    assert_eq!(config.shards_per_pod, Some(3));
    assert_eq!(config.guilds_per_shard, 2_000);
    assert_eq!(config.health_check_interval, Duration::from_secs(15));
    assert_eq!(config.shard_timeout, Duration::from_secs(90));
    assert_eq!(config.shard_spawn_delay, Duration::from_secs(10));
    assert_eq!(config.name, "7");
}

#[test]
fn a_pods_name_wins_over_its_aliases() {
    let sources = environment(&[("SHARD_ID", "1"), ("POD_NAME", "apolo-0"), ("POD_ORDINAL", "2")]);

    assert_eq!(load(&sources).unwrap().config.name, "apolo-0");
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
    let sources =
        environment(&[("APOLO_HTTP_ADDR", ""), ("DISCORD_TOKEN", ""), ("REDIS_HOST", "")]);

    let Loaded { config, warnings } = load(&sources).unwrap();

    assert_eq!(config.origin("http-addr"), Origin::Default);
    assert!(config.token.is_none());
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_error_names_the_value_its_origin_and_what_would_be_right() {
    let said = errors_of(&environment(&[("APOLO_HTTP_ADDR", "localhost:3000")]));

    assert_eq!(
        said,
        "http-addr = \"localhost:3000\" is a name, not an IP address (from the environment variable APOLO_HTTP_ADDR). Expected an IP address and a port, such as 0.0.0.0:3000 or [::]:3000. Did you mean \"127.0.0.1:3000\"?"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let (_dir, sources) = with_file(
        "colour = 'red'\nhttp_addr = '127.0.0.1:1'\ntotal-shards = 0",
        environment(&[("SHARD_TIMEOUT", "soon"), ("DISCORD_INTENTS", "GUILDS,CATS")]),
    );

    let errors = load(&sources).unwrap_err().0;

    assert_eq!(errors.len(), 5, "{errors:?}");
    let said = ConfigErrors(errors).to_string();
    assert!(said.contains("Did you mean \"http-addr\"?"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_that_names_who_asked_for_it() {
    let said = errors_of(&environment(&[("APOLO_CONFIG", "/does/not/exist.toml")]));

    assert!(said.starts_with("the file /does/not/exist.toml can't be read"), "{said}");
    assert!(said.ends_with("(from the environment variable APOLO_CONFIG)"), "{said}");
}

#[test]
fn a_timeout_below_the_interval_is_a_contradiction() {
    let said = errors_of(&environment(&[("SHARD_TIMEOUT", "5000")]));

    assert!(said.contains("SHARD_TIMEOUT") && said.contains("the default"), "{said}");
}

#[test]
fn the_token_comes_from_the_environment_or_a_mounted_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "Bot from.a.file\n").unwrap();

    let direct = load(&environment(&[("DISCORD_TOKEN", "abc")])).unwrap().config;
    let mounted =
        load(&environment(&[("DISCORD_TOKEN_FILE", path.to_str().unwrap())])).unwrap().config;

    assert_eq!(direct.require_token().unwrap().expose(), "abc");
    assert_eq!(mounted.require_token().unwrap().expose(), "from.a.file");
    assert!(Config::default().require_token().unwrap_err().advice().unwrap().contains("apolo dev"));
}

#[test]
fn no_output_shows_a_secret() {
    let secret = "MTk4NjIy.s3cret";
    let variables = [("DISCORD_TOKEN", secret), ("APOLO_API_TOKEN", secret)];
    let good = environment(&variables);
    let bad = environment(&[("DISCORD_TOKEN", "s3cret with a space")]);
    let twice = environment(&[("DISCORD_TOKEN", secret), ("DISCORD_TOKEN_FILE", "/x")]);
    let in_url = environment(&[("DISCORD_API", "https://me:s3cret@discord.com")]);

    let shown = [
        format!("{good:?} {:?}", load(&good).unwrap()),
        format!("{} {:?}", errors_of(&bad), load(&bad).unwrap_err()),
        format!("{} {:?}", errors_of(&twice), load(&twice).unwrap_err()),
        format!("{} {:?}", errors_of(&in_url), load(&in_url).unwrap_err()),
    ];

    for text in shown {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn redis_is_ignored_with_one_warning() {
    let loaded = load(&environment(&[("REDIS_HOST", "redis"), ("REDIS_PORT", "6379")])).unwrap();

    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].starts_with("REDIS_HOST, REDIS_PORT ignored"));
}

#[test]
fn what_deserves_a_second_look_is_a_warning() {
    let loaded = load(&environment(&[
        ("DISCORD_INTENTS", "ALL"),
        ("DISCORD_API", "http://discord.example/api/v10"),
        ("APOLO_DATADIR", "/data"),
        ("APOLO_SERVICE_HOST", "10.0.0.1"),
        ("APOLO_PORT_3000_TCP", "tcp://10.0.0.1:3000"),
    ]))
    .unwrap();

    let warnings = loaded.warnings.join("\n");
    assert_eq!(loaded.warnings.len(), 3, "{warnings}");
    assert!(warnings.contains("GUILD_MEMBERS, GUILD_PRESENCES, MESSAGE_CONTENT"), "{warnings}");
    assert!(warnings.contains("did you mean APOLO_DATA_DIR?"), "{warnings}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_an_error_only_where_it_is_ours() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    let broken = |name: &str| Sources {
        environment: [(name, OsString::from_vec(vec![0xff]))].into_iter().collect(),
        ..Sources::default()
    };

    assert!(load(&broken("PATH")).is_ok());
    assert!(errors_of(&broken("POD_NAME")).contains("POD_NAME is not UTF-8"));
    assert!(errors_of(&broken("DISCORD_TOKEN")).contains("DISCORD_TOKEN is not UTF-8"));
}
