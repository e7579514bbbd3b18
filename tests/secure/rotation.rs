//! Changing the key-encryption key, and the commands that work on the store.

#[allow(dead_code)]
#[path = "../store/records.rs"]
mod records;

use crate::keyring::{opens_to, sealed};
use crate::support::dir::TempDir;
use crate::support::postgres::Postgres;
use crate::support::program::{Program, agentcast};
use agentcast::output::key::StreamKey;
use agentcast::secure::{Binding, Keyring, api_key, ingest_host};
use agentcast::server::rotate::rotate;
use agentcast::server::who::Who;
use agentcast::store::model::{ApiRole, SealedKey};
use agentcast::store::{MAX_DESTINATIONS, PageRequest, Place, Store};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The old key's ring, the new one's, and both in the order of a rotation; the last as text too.
struct Rings {
    old: Keyring,
    new: Keyring,
    both: Keyring,
    text: String,
}

fn rings() -> Rings {
    let (old, new) = (Keyring::generate(), Keyring::generate());
    let text = format!("new:{},old:{}", new.expose_secret(), old.expose_secret());
    let ring = |text: &str| Keyring::parse(&SecretString::from(text)).unwrap();
    let (new, old) = text.split_once(',').unwrap();
    Rings { old: ring(old), new: ring(new), both: ring(&text), text: text.clone() }
}

fn destination(n: usize) -> String {
    format!("dst_{n:04}")
}

fn agent(n: usize) -> String {
    format!("agt_{:02}", n / MAX_DESTINATIONS)
}

/// A key as the service would set it.
fn record(ring: &Keyring, n: usize, text: &str) -> SealedKey {
    let host = records::destination("", "", "").ingest.map(|i| ingest_host(&i).to_owned()).unwrap();
    sealed(ring, text, &agent(n), &destination(n), &host, 1)
}

/// A store with so many stream keys `key-<n>`, sealed by the old key.
async fn filled(place: &Place, keys: usize, rings: &Rings) -> Store {
    let store = Store::open(place).await.unwrap();
    store.add_tenant(&records::tenant("ten_1")).await.unwrap();
    for n in 0..keys {
        if n % MAX_DESTINATIONS == 0 {
            store.add_agent(&records::agent(&agent(n), "ten_1")).await.unwrap();
        }
        store.add_destination(&records::destination(&destination(n), &agent(n), "ten_1")).await.unwrap();
        store.put_key(Some("ten_1"), &record(&rings.old, n, &format!("key-{n}"))).await.unwrap();
    }
    store
}

async fn under_the_old_key(store: &Store) -> usize {
    let mut count = 0;
    let mut after = None;
    loop {
        let page = store.keys_not_under("new", after.as_deref(), 200).await.unwrap();
        let Some(last) = page.last() else { return count };
        (count, after) = (count + page.len(), Some(last.destination_id.clone()));
    }
}

/// Every key opens by `ring` to its own text.
async fn assert_all_open(store: &Store, keys: usize, ring: &Keyring) {
    for n in 0..keys {
        let record = store.sealed_key(&destination(n)).await.unwrap().unwrap_or_else(|| panic!("{n} is gone"));
        assert!(opens_to(ring, &record, &format!("key-{n}")), "{n} does not open");
    }
}

#[tokio::test]
async fn rotation_wraps_every_key_anew_once_and_is_audited() {
    let rings = rings();
    let store = filled(&Place::Memory, 40, &rings).await;
    let before = store.sealed_key(&destination(7)).await.unwrap().unwrap();
    let done = rotate(&store, &rings.both, &Who::cli()).await.unwrap();
    assert_eq!((done.kid.as_str(), done.rewrapped, done.left, done.complete()), ("new", 40, 0, true));
    assert_all_open(&store, 40, &rings.new).await;
    let after = store.sealed_key(&destination(7)).await.unwrap().unwrap();
    assert_eq!(
        (after.fingerprint, after.set_at),
        (before.fingerprint, before.set_at),
        "for the operator it is the same key"
    );
    let again = rotate(&store, &rings.both, &Who::cli()).await.unwrap();
    assert_eq!((again.rewrapped, again.complete()), (0, true));
    let log = store.audit_log(None, &PageRequest { after: None, limit: 50 }).await.unwrap().items;
    let said: Vec<_> = log.iter().map(|e| (e.actor.as_str(), e.action.as_str(), e.subject.as_str())).collect();
    let (begin, end) = (("cli", "keyring.rotate.begin", "new"), ("cli", "keyring.rotate.end", "new"));
    assert_eq!(said, [end, begin, end, begin], "newest first");
    assert_eq!(log[2].details["rewrapped"], 40);
}

#[tokio::test]
async fn records_that_do_not_open_are_named_and_hold_nothing_up() {
    let rings = rings();
    let store = filled(&Place::Memory, 6, &rings).await;
    let mut broken = record(&rings.old, 2, "key-2");
    (broken.blob[40], broken.record_version) = (broken.blob[40] ^ 1, 2);
    store.put_key(None, &broken).await.unwrap();
    let stranger = Keyring::ephemeral();
    let foreign = SealedKey { record_version: 2, ..record(&stranger, 4, "key-4") };
    store.put_key(None, &foreign).await.unwrap();
    let done = rotate(&store, &rings.both, &Who::cli()).await.unwrap();
    assert_eq!((done.rewrapped, done.left, done.complete()), (4, 0, false));
    let [(second, damaged), (fourth, unknown)] = &done.broken[..] else { panic!("{:?}", done.broken) };
    assert_eq!((second.as_str(), fourth.as_str()), ("dst_0002", "dst_0004"));
    assert!(damaged.contains("moved, edited or damaged") && unknown.contains(stranger.kid()), "{:?}", done.broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_set_and_deleted_meanwhile_win() {
    let dir = TempDir::new("rotate-busy");
    busy(&Place::Sqlite(dir.path().join("a.db"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_set_and_deleted_meanwhile_win_on_a_server() {
    let server = Postgres::shared();
    busy(&Place::Postgres(server.database().await.into())).await;
}

async fn busy(place: &Place) {
    let rings = rings();
    let store = filled(place, 96, &rings).await;
    let busy = {
        let (store, old) = (store.clone(), rings.old);
        tokio::spawn(async move {
            let mut set = HashMap::new();
            // A service that still has the old key only.
            for round in 0..2 {
                for n in (0..96).rev().step_by(3) {
                    let text = format!("other-{n}-{round}");
                    let key = StreamKey::new(&text).unwrap();
                    let mut record = record(&old, n, &text);
                    record.record_version = round + 2;
                    let binding = Binding {
                        agent: &record.agent_id,
                        destination: &record.destination_id,
                        host: &record.host,
                        record_version: record.record_version,
                    };
                    record.blob = old.seal(&key, binding);
                    store.put_key(None, &record).await.unwrap();
                    set.insert(n, Some(text));
                }
                store.delete_key(None, &destination(10 + round as usize)).await.unwrap();
                set.insert(10 + round as usize, None);
            }
            set
        })
    };
    let during = rotate(&store, &rings.both, &Who::cli()).await.unwrap();
    let set = busy.await.unwrap();
    let after = rotate(&store, &rings.both, &Who::cli()).await.unwrap();
    assert!(during.rewrapped > 0 && during.broken.is_empty(), "{during:?}");
    assert!(after.complete(), "{after:?}");
    for n in 0..96 {
        let record = store.sealed_key(&destination(n)).await.unwrap();
        match (set.get(&n), record) {
            (Some(None), record) => assert!(record.is_none(), "{n} came back"),
            (Some(Some(text)), Some(record)) => assert!(opens_to(&rings.new, &record, text), "{n}"),
            (None, Some(record)) => assert!(opens_to(&rings.new, &record, &format!("key-{n}")), "{n}"),
            (_, None) => panic!("{n} is gone"),
        }
    }
}

/// Without a setting of its own the store is the file in this folder.
fn command(dir: &Path, text: &str) -> Command {
    let mut command = agentcast();
    let stray = ["AGENTCAST_CONFIG", "STREAMING_JWT_SECRET", "STREAM_KEY_ENCRYPTION_KEY_FILE"];
    for name in stray {
        command.env_remove(name);
    }
    command.env("AGENTCAST_DATA_DIR", dir).env("STREAM_KEY_ENCRYPTION_KEY", text);
    command
}

/// Runs it to its end: exit code, standard output, standard error.
fn run(dir: &Path, text: &str, args: &[&str]) -> (i32, String, String) {
    ends(command(dir, text).args(args))
}

fn ends(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_in_the_middle_loses_nothing_and_is_finished_by_the_next() {
    killed(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_on_a_server_killed_in_the_middle_loses_nothing_and_is_finished_by_the_next() {
    let server = Postgres::shared();
    killed(Some(server.database().await)).await;
}

/// `url`: of a server's database; None: a file.
async fn killed(url: Option<String>) {
    const KEYS: usize = 320;
    let rings = rings();
    let dir = TempDir::new("rotate-kill");
    let place = match &url {
        Some(url) => Place::Postgres(url.as_str().into()),
        None => Place::Sqlite(dir.path().join("agentcast.db")),
    };
    let store = filled(&place, KEYS, &rings).await;
    let rotate = || {
        let mut command = command(dir.path(), &rings.text);
        command.args(["key", "rotate"]).envs(url.iter().map(|url| ("AGENTCAST_DATABASE", url)));
        command
    };
    let mut kills = 0;
    let mut left = KEYS;
    // Three times somewhere in the middle.
    while kills < 3 && left > 0 {
        let program = Program::start(&mut rotate());
        let began = left;
        while left > 0 && left + 30 > began {
            left = under_the_old_key(&store).await;
        }
        program.signal(libc::SIGKILL);
        drop(program);
        left = under_the_old_key(&store).await;
        assert_all_open(&store, KEYS, &rings.both).await;
        kills += 1;
    }
    assert!(kills >= 2 || left > 0, "it was over before it could be killed");
    let (code, out, err) = ends(&mut rotate());
    assert_eq!((code, out.as_str()), (0, format!("{left} stream keys wrapped anew by key new\n").as_str()), "{err}");
    assert!(err.contains("Nothing needs the other keys any more"), "{err}");
    assert_all_open(&store, KEYS, &rings.new).await;
    for secret in [rings.text.as_str(), "key-1"] {
        assert!(!out.contains(secret) && !err.contains(secret));
    }
}

#[test]
fn generated_keys_are_good_and_alone_on_standard_output() {
    let dir = TempDir::new("generate");
    let (code, out, err) = run(dir.path(), "", &["key", "generate"]);
    assert_eq!((code, out.lines().count(), err.as_str()), (0, 1, ""));
    assert!(Keyring::parse(&SecretString::from(out)).is_ok());
    let (code, out, _) = run(dir.path(), "", &["key", "generate", "--jwt"]);
    assert_eq!((code, out.trim().len()), (0, 64));
    assert!(agentcast::secure::TokenSigner::parse(&SecretString::from(out)).is_ok());
    for (text, says) in [("", "is not set"), ("canary-password", "neither base64 nor hex")] {
        let (code, out, err) = run(dir.path(), text, &["key", "rotate"]);
        assert!(code == 2 && out.is_empty() && err.contains(says) && err.contains("`agentcast key generate`"), "{err}");
        assert!(!err.contains("canary"), "{err}");
    }
}

#[tokio::test]
async fn keys_and_tenants_are_made_listed_and_revoked_from_the_command_line() {
    let dir = TempDir::new("apikey");
    let data = dir.path().join("data");
    let run = |args: &[&str]| run(&data, "", args);
    let (code, admin, err) = run(&["apikey", "create", "--role", "admin", "--name", "me"]);
    assert_eq!(code, 0, "{err}");
    let admin = admin.trim();
    let id = api_key::id(admin).expect("the key stands alone on standard output").to_owned();
    assert!(err.contains("not shown again") && !err.contains(admin.split_once('.').unwrap().1), "{err}");
    let (code, tenant, err) = run(&["tenant", "create", "Chess \u{1f451} House"]);
    assert!(code == 0 && tenant.starts_with("ten_"), "{err}");
    let (_, _, err) = run(&["apikey", "create", "--role", "game", "--name", "server"]);
    assert!(err.contains("belongs to a tenant"), "{err}");
    let (code, _, err) = run(&["apikey", "create", "--role", "game", "--tenant", "Nobody", "--name", "server"]);
    assert!(code == 1 && err.contains("no such tenant"), "{err}");
    let (code, _, err) = run(&["apikey", "create", "--role", "admin", "--tenant", tenant.trim(), "--name", "x"]);
    assert!(code == 2 && err.contains("whole service"), "{err}");
    let game = ["apikey", "create", "--role", "game", "--tenant", "Chess \u{1f451} House", "--name", "server"];
    let (code, game, err) = run(&game);
    assert_eq!(code, 0, "{err}");
    let (_, list, _) = run(&["apikey", "list"]);
    assert!(list.contains(&id) && list.contains("server") && list.contains(tenant.trim()), "{list}");
    assert!(!list.contains(admin) && !list.contains(admin.split_once('.').unwrap().1), "{list}");
    let (_, tenants, _) = run(&["tenant", "list"]);
    assert!(tenants.contains(tenant.trim()) && tenants.contains("Chess"), "{tenants}");
    let (code, _, err) = run(&["apikey", "revoke", &id]);
    assert!(code == 0 && err.contains("revoked"), "{err}");
    let (code, _, err) = run(&["apikey", "revoke", "key_0"]);
    assert!(code == 1 && err.contains("does not exist"), "{err}");

    let store = Store::open(&Place::Sqlite(data.join("agentcast.db"))).await.unwrap();
    let (record, hash) = store.api_key(&id).await.unwrap().unwrap();
    assert!(api_key::matches(admin, &hash) && record.revoked_at.is_some() && record.tenant_id.is_none());
    let (record, hash) = store.api_key(api_key::id(game.trim()).unwrap()).await.unwrap().unwrap();
    assert!(api_key::matches(game.trim(), &hash) && record.revoked_at.is_none());
    assert_eq!((record.role, record.tenant_id.as_deref()), (ApiRole::Game, Some(tenant.trim())));
    let log = store.audit_log(None, &PageRequest { after: None, limit: 50 }).await.unwrap().items;
    let said: Vec<_> = log.iter().rev().map(|e| (e.actor.as_str(), e.action.as_str())).collect();
    let cli = |action| ("cli", action);
    let wanted = ["api-key.create", "tenant.create", "api-key.create", "api-key.revoke"];
    assert_eq!(said, wanted.map(cli));
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&data), mode(&data.join("agentcast.db"))), (0o700, 0o600));
}
