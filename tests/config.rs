//! Settings as an operator meets them: `agentcast config` with flags, environment and files.

mod support;

use agentcast::config::settings::SETTINGS;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::dir::TempDir;
use support::program::agentcast;

/// If this is ever seen, a secret leaked.
const CANARY: &str = "config-canary-0123456789abcdef0123456789abcdef";

fn config() -> Command {
    let mut command = agentcast();
    command.arg("config");
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

fn write(dir: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

fn line<'a>(text: &'a str, begins: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no {begins} in\n{text}"))
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults_and_each_source_is_named() {
    let dir = TempDir::new("precedence");
    let toml = "listen = \"127.0.0.1:1001\"\n[streaming]\nover = \"31s\"\nidle = \"32s\"\nmax_encodes = 3\n\
                [destinations]\nallowed_hosts = [\"a.example.com\", \".b.example.com\"]\n";
    let path = write(&dir, "agentcast.toml", toml, 0o644);
    let mut command = config();
    command.arg("--config").arg(&path).args(["--listen", "127.0.0.1:1003"]);
    command.env("AGENTCAST_LISTEN", "127.0.0.1:1002").env("AGENTCAST_STREAMING_OVER", "33s").env("PUBLIC_URL", "");
    let (code, out, err) = run(&mut command);
    assert_eq!((code, &*err), (Some(0), ""));
    let at = |n: usize| format!("# {} line {n}", path.display());
    assert_eq!(line(&out, "listen"), "listen = \"127.0.0.1:1003\"  # --listen");
    assert_eq!(line(&out, "over"), "over = \"33s\"  # AGENTCAST_STREAMING_OVER");
    assert_eq!(line(&out, "idle"), format!("idle = \"32s\"  {}", at(4)));
    assert_eq!(line(&out, "max_encodes"), format!("max_encodes = 3  {}", at(5)));
    let hosts = format!("allowed_hosts = [\"a.example.com\", \".b.example.com\"]  {}", at(7));
    assert_eq!(line(&out, "allowed_hosts"), hosts);
    assert_eq!(line(&out, "public_url"), "public_url = \"\"  # default", "an empty variable is not set");
    assert_eq!(line(&out, "currency"), "currency = \"USD\"  # default");
    // What it prints is a file of settings itself.
    let again = write(&dir, "again.toml", &out, 0o644);
    let (code, out, err) = run(config().arg("--config").arg(&again));
    assert_eq!((code, &*err), (Some(0), ""));
    assert!(line(&out, "over").starts_with("over = \"33s\""), "{out}");
}

#[test]
fn every_setting_is_explained_and_the_example_file_holds_all() {
    let (code, out, _) = run(config().arg("--explain"));
    assert_eq!(code, Some(0));
    let (_, example, _) = run(config().args(["--explain", "--toml"]));
    let (_, help, _) = run(agentcast().args(["serve", "--help"]));
    for setting in SETTINGS {
        assert!(setting.what.len() > 15, "{}", setting.name);
        for wanted in [setting.name, setting.env, &setting.flag()] {
            assert!(out.contains(wanted), "--explain has no {wanted}");
        }
        assert!(help.contains(&setting.flag()), "serve --help has no {}", setting.flag());
        assert!(example.contains(&format!("\n#{}", setting.key())), "the example has no {}", setting.name);
    }
    // The names that operators have in their .env files.
    for kept in [
        "LIVEKIT_URL",
        "LIVEKIT_API_KEY",
        "LIVEKIT_API_SECRET",
        "STREAM_KEY_ENCRYPTION_KEY",
        "STREAMING_JWT_SECRET",
        "STREAMING_ENABLED",
        "PUBLIC_URL",
    ] {
        assert!(SETTINGS.iter().any(|setting| setting.env == kept), "{kept}");
    }
    let dir = TempDir::new("example");
    let path = write(&dir, "example.toml", &example, 0o644);
    assert_eq!(run(config().arg("--config").arg(path)).0, Some(0));
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_source_and_what_is_expected() {
    let dir = TempDir::new("wrong");
    let toml = "[streaming]\nover = 45\n\n[limits]\nevents_per_second = 0\n";
    let path = write(&dir, "agentcast.toml", toml, 0o644);
    let mut command = config();
    command.arg("--config").arg(&path).args(["--retention-matches-bytes", "4GB"]);
    command.env("PUBLIC_URL", "cast.example.com").env("STREAMING_ENABLED", "maybe").env("AGENTCAST_LOG", "=,=");
    let (code, out, err) = run(&mut command);
    assert_eq!((code, &*out), (Some(2), ""));
    for wanted in [
        &*format!("{} line 2 (streaming.over): expected a time from 0s to 1h", path.display()),
        &format!("{} line 5 (limits.events_per_second): expected a number from 1 to 10000", path.display()),
        "--retention-matches-bytes: expected a size from 1MiB to 1024TiB",
        "PUBLIC_URL (public_url): expected http:// or https:// and a host",
        "STREAMING_ENABLED (streaming.enabled): expected true or false",
        "AGENTCAST_LOG (log.level): expected",
    ] {
        assert!(err.lines().any(|line| line.contains(wanted)), "no {wanted:?} in\n{err}");
    }
}

#[test]
fn a_name_that_is_not_known_is_refused_with_the_nearest_one() {
    let dir = TempDir::new("names");
    for (toml, wanted) in [
        ("listem = \"127.0.0.1:1\"", "line 1: there is no setting listem; did you mean listen?"),
        ("\n[streaming]\novr = \"1s\"", "line 3: there is no setting streaming.ovr; did you mean streaming.over?"),
        ("over = \"1s\"", "there is no setting over; did you mean streaming.over?"),
        ("[weather]\nsun = true", "there is no setting weather.sun; `agentcast config --explain` lists all"),
        ("listen = [1]", "line 1 (listen): expected a list of texts"),
        ("listen = \n", "line 1: "),
    ] {
        let path = write(&dir, "agentcast.toml", toml, 0o644);
        let (code, _, err) = run(config().arg("--config").arg(path));
        assert!(code == Some(2) && err.contains(wanted), "{toml}: {err}");
    }
    let (code, _, err) = run(config().arg("--config").arg(dir.path().join("none.toml")));
    assert!(code == Some(2) && err.contains("none.toml: No such file"), "{err}");
    let (code, _, err) = run(config().env("AGENTCAST_STREAMING_OVR", "1s"));
    assert_eq!(code, Some(0));
    assert!(
        err.contains(
            "AGENTCAST_STREAMING_OVR in the environment is no setting; did you mean AGENTCAST_STREAMING_OVER?"
        )
    );
}

#[test]
fn variables_of_the_examples_are_no_mistakes_and_nothing_far_away_is_proposed() {
    let (code, _, err) = run(config().env("AGENTCAST_URL", "http://127.0.0.1:1").env("AGENTCAST_KEY", CANARY));
    assert_eq!((code, &*err), (Some(0), ""));
    let (_, _, err) = run(config().env("AGENTCAST_TOKEN", "1").env("AGENTCAST_LOGS", "info"));
    assert!(err.lines().any(|line| line.ends_with("AGENTCAST_TOKEN in the environment is no setting")), "{err}");
    assert!(err.contains("AGENTCAST_LOGS in the environment is no setting; did you mean AGENTCAST_LOG?"), "{err}");
}

/// Sets every secret in its own way.
fn with_secrets<'a>(command: &'a mut Command, file: &Path) -> &'a mut Command {
    command
        .env("AGENTCAST_DATABASE", format!("postgres://cast:{CANARY}@db.example.com/cast"))
        .env("STREAM_KEY_ENCRYPTION_KEY_FILE", file)
        .env("STREAMING_JWT_SECRET", CANARY)
        .env("LIVEKIT_API_KEY", format!("API{CANARY}"))
        .env("LIVEKIT_API_SECRET", CANARY)
}

#[test]
fn no_secret_is_printed_wherever_it_came_from_and_whatever_is_wrong() {
    let dir = TempDir::new("secrets");
    let file = write(&dir, "kek", &format!("{CANARY}\n"), 0o600);
    let (code, out, err) = run(with_secrets(&mut config(), &file));
    assert_eq!((code, &*err), (Some(0), ""));
    for wanted in [
        "# database: set (AGENTCAST_DATABASE)",
        "# stream_key_encryption_key: set (STREAM_KEY_ENCRYPTION_KEY_FILE)",
        "# streaming_jwt_secret: set (STREAMING_JWT_SECRET)",
        "# api_key: set (LIVEKIT_API_KEY)",
        "# api_secret: set (LIVEKIT_API_SECRET)",
    ] {
        assert!(out.contains(wanted), "{out}");
    }
    let (_, none, _) = run(&mut config());
    assert!(none.contains("# database: not set"), "{none}");
    let mut said = out;
    for toml in [
        format!("streaming_jwt_secret = \"{CANARY}\"\nlisten = \"{CANARY}\"\n"),
        format!("streaming_jwt_secret = \"{CANARY}\nlisten = 1\n"),
        format!("streaming_jwt_secrets = \"{CANARY}\"\n"),
        format!("database = \"mysql://u:{CANARY}@h/d\"\n"),
        format!("public_url = \"https://u:{CANARY}@h\"\n"),
        format!(
            "[livekit]\nurl = \"wss://u:{CANARY}@h\"\napi_secret = [\"{CANARY}\"]\napi_key = {{ a = \"{CANARY}\" }}"
        ),
    ] {
        let path = write(&dir, "agentcast.toml", &toml, 0o600);
        let (code, out, err) = run(config().arg("--config").arg(path));
        assert_eq!(code, Some(2), "{toml}");
        said += &(out + &err);
    }
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn secrets_that_everybody_can_read_are_warned_of_and_a_file_beside_a_value_is_refused() {
    let dir = TempDir::new("modes");
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        let file = write(&dir, "jwt", CANARY, mode);
        let (code, _, err) = run(config().env("STREAMING_JWT_SECRET_FILE", &file));
        assert_eq!((code, err.contains("chmod 600")), (Some(0), warned), "{mode:o}: {err}");
        let toml = write(&dir, "agentcast.toml", &format!("streaming_jwt_secret = \"{CANARY}\"\n"), mode);
        let (code, _, err) = run(config().arg("--config").arg(&toml));
        assert_eq!((code, err.contains("it holds secrets: chmod 600")), (Some(0), warned), "{mode:o}: {err}");
    }
    let file = write(&dir, "jwt", CANARY, 0o600);
    let (code, _, err) = run(config().env("STREAMING_JWT_SECRET_FILE", &file).env("STREAMING_JWT_SECRET", CANARY));
    assert!(code == Some(2) && err.contains("STREAMING_JWT_SECRET and STREAMING_JWT_SECRET_FILE: set one"), "{err}");
    let empty = write(&dir, "empty", "\n", 0o600);
    for (path, wanted) in
        [(empty, "is empty"), (dir.path().join("none"), "No such file"), (dir.path().into(), "a folder")]
    {
        let (code, _, err) = run(config().args(["--streaming-jwt-secret-file", path.to_str().unwrap()]));
        assert!(code == Some(2) && err.contains("--streaming-jwt-secret-file: ") && err.contains(wanted), "{err}");
    }
}
