//! The envelope round a stream key.

use agentcast::output::key::StreamKey;
use agentcast::output::log;
use agentcast::secure::{Binding, Keyring, KeyringError, SealError};
use agentcast::store::model::SealedKey;
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};

fn ring(text: &str) -> Keyring {
    Keyring::parse(&SecretString::from(text)).expect("good keys")
}

fn refused(text: &str) -> String {
    match Keyring::parse(&SecretString::from(text)) {
        Ok(_) => panic!("taken"),
        Err(error) => error.to_string(),
    }
}

fn key(text: &str) -> StreamKey {
    StreamKey::new(text).expect("a good key")
}

/// A record as the store would hold it.
pub fn sealed(ring: &Keyring, text: &str, agent: &str, destination: &str, host: &str, version: i64) -> SealedKey {
    let key = key(text);
    let blob = ring.seal(&key, Binding { agent, destination, host, record_version: version });
    SealedKey {
        destination_id: destination.into(),
        agent_id: agent.into(),
        host: host.into(),
        record_version: version,
        kid: ring.kid().into(),
        blob,
        fingerprint: ring.fingerprint(&key),
        set_at: 1,
        last_used_at: None,
    }
}

/// Whether the record opens to this key. Stream keys cannot be compared, and their fingerprints can.
pub fn opens_to(ring: &Keyring, record: &SealedKey, text: &str) -> bool {
    ring.open(record).is_ok_and(|opened| ring.fingerprint(&opened) == ring.fingerprint(&key(text)))
}

fn record(ring: &Keyring) -> SealedKey {
    sealed(ring, "live_123_canary", "agt_1", "dst_1", "live.example.com:1936", 3)
}

#[test]
fn a_sealed_key_opens_where_it_was_sealed_and_looks_different_each_time() {
    let ring = Keyring::ephemeral();
    let (a, b) = (record(&ring), record(&ring));
    assert!(opens_to(&ring, &a, "live_123_canary") && opens_to(&ring, &b, "live_123_canary"));
    let lengths = (1, 1 + ring.kid().len(), 12 + 48, 12, "live_123_canary".len() + 16);
    assert_eq!(a.blob.len(), lengths.0 + lengths.1 + lengths.2 + lengths.3 + lengths.4);
    let head = 2 + ring.kid().len();
    assert_eq!((a.blob[0], &a.blob[2..head]), (1, ring.kid().as_bytes()));
    let same = a.blob[head..].iter().zip(&b.blob[head..]).filter(|(a, b)| a == b).count();
    assert!(same < 20, "{same} of {} bytes are alike", a.blob.len() - head);
    assert!(!a.blob.windows(6).any(|w| w == b"canary"));
}

#[test]
fn every_flipped_bit_of_a_blob_is_refused() {
    let ring = Keyring::ephemeral();
    let good = record(&ring);
    for at in 0..good.blob.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad.blob[at] ^= 1 << bit;
            assert_eq!(ring.open(&bad).err(), Some(SealError::Broken), "byte {at}, bit {bit}");
            assert_eq!(ring.rewrap(&bad).err().is_some(), at < good.blob.len() - 15 - 28, "byte {at}, bit {bit}");
        }
    }
    for length in 0..good.blob.len() {
        let mut bad = good.clone();
        bad.blob.truncate(length);
        assert_eq!(ring.open(&bad).err(), Some(SealError::Broken), "{length} bytes");
    }
    let mut bad = good.clone();
    bad.blob.push(0);
    assert_eq!(ring.open(&bad).err(), Some(SealError::Broken));
}

#[test]
fn a_row_that_was_moved_or_edited_is_refused() {
    let ring = ring(&format!("a:{},b:{}", Keyring::generate().expose_secret(), Keyring::generate().expose_secret()));
    let good = record(&ring);
    type Edit = fn(&mut SealedKey);
    let edits: [(&str, Edit); 9] = [
        ("agent", |r| r.agent_id = "agt_2".into()),
        ("destination", |r| r.destination_id = "dst_2".into()),
        ("host", |r| r.host = "evil.example.com".into()),
        ("port", |r| r.host = "live.example.com".into()),
        ("version before", |r| r.record_version = 2),
        ("version after", |r| r.record_version = 4),
        ("kid", |r| r.kid = "b".into()),
        ("unknown kid", |r| r.kid = "c".into()),
        ("fields that slide into each other", |r| {
            (r.agent_id, r.destination_id) = ("agt_1d".into(), "st_1".into());
        }),
    ];
    for (what, edit) in edits {
        let mut bad = good.clone();
        edit(&mut bad);
        assert_eq!(ring.open(&bad).err(), Some(SealError::Broken), "{what}");
        assert_eq!(ring.rewrap(&bad).err(), Some(SealError::Broken), "{what}");
    }
    // The blob of another row, and halves of two rows of one place.
    let other = sealed(&ring, "live_456_canary", "agt_1", "dst_2", "live.example.com:1936", 3);
    let swapped = SealedKey { blob: other.blob, ..good.clone() };
    assert_eq!(ring.open(&swapped).err(), Some(SealError::Broken));
    let again = record(&ring);
    let half = 2 + ring.kid().len() + 60;
    let spliced = SealedKey { blob: [&good.blob[..half], &again.blob[half..]].concat(), ..good.clone() };
    assert_eq!(ring.open(&spliced).err(), Some(SealError::Broken));
    // A kid that another key has: that key must not open it.
    let mut relabelled = good.clone();
    relabelled.blob[2] = b'b';
    relabelled.kid = "b".into();
    assert_eq!(ring.open(&relabelled).err(), Some(SealError::Broken));
    assert!(opens_to(&ring, &good, "live_123_canary"));
}

#[test]
fn keys_change_by_wrapping_anew_and_an_old_one_that_is_gone_is_named() {
    let (old, new) = (Keyring::generate(), Keyring::generate());
    let (old, new) = (old.expose_secret(), new.expose_secret());
    let before = ring(&format!("old:{old}"));
    let record = record(&before);
    let both = ring(&format!("new:{new},old:{old}"));
    assert!(opens_to(&both, &record, "live_123_canary"));
    let rewrapped = SealedKey { blob: both.rewrap(&record).unwrap(), kid: both.kid().into(), ..record.clone() };
    let payload = 12 + "live_123_canary".len() + 16;
    assert!(rewrapped.blob.ends_with(&record.blob[record.blob.len() - payload..]), "the stream key stays as it was");
    let after = ring(&format!("new:{new}"));
    assert!(opens_to(&after, &rewrapped, "live_123_canary"));
    assert_eq!(after.open(&record).err(), Some(SealError::UnknownKey("old".into())));
    assert_eq!(before.open(&rewrapped).err(), Some(SealError::UnknownKey("new".into())));
    let impostor = ring(&format!("old:{new}"));
    assert_eq!(impostor.open(&record).err(), Some(SealError::Broken));
}

#[test]
fn a_key_that_gets_a_name_later_still_opens_what_it_sealed_before() {
    let secret = Keyring::generate();
    let bare = ring(secret.expose_secret());
    let (record, named) = (record(&bare), ring(&format!("2026:{}", secret.expose_secret())));
    assert!(bare.kid().starts_with('k') && named.kid() == "2026");
    assert!(opens_to(&named, &record, "live_123_canary"));
}

#[test]
fn a_fingerprint_tells_keys_apart_without_telling_them() {
    let (a, b) = (Keyring::ephemeral(), Keyring::ephemeral());
    let print = a.fingerprint(&key("live_1"));
    assert!(print.len() == 6 && print.bytes().all(|b| b.is_ascii_hexdigit()), "{print}");
    assert_eq!(print, a.fingerprint(&key(" live_1\n")));
    assert_ne!(print, a.fingerprint(&key("live_2")));
    assert_ne!(print, b.fingerprint(&key("live_1")), "it is keyed");
}

#[test]
fn keys_are_read_as_base64_or_hex_with_names_or_without() {
    let base64 = "3q2+78r+urAAESIzRFVmd4iZqrvM3e7/ECAwQFBgcHA=";
    let hex = "deadbeefcafebab000112233445566778899aabbccddeeff1020304050607070";
    let kid = ring(base64).kid().to_owned();
    for same in [hex, &hex.to_uppercase(), base64.trim_end_matches('='), &base64.replace('+', "-").replace('/', "_")] {
        assert_eq!(ring(same).kid(), kid, "{same}");
    }
    let second = Keyring::generate();
    let file = format!("# newest first\n 2026 : {hex}\n\n{}\n", second.expose_secret());
    assert_eq!(ring(&file).kid(), "2026");
    assert_eq!(format!("{:?}", ring(&format!("a:{hex}"))), r#"["a"]"#);
    assert!(!log::scrub(&format!("kek {hex} and {base64}")).contains("3q2"));
}

#[test]
fn weak_keys_are_refused_with_the_command_that_makes_a_good_one_and_never_repeated() {
    let good = Keyring::generate();
    let (good, twice) = (good.expose_secret(), "0123456789abcdef".repeat(4));
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let counts: Vec<u8> = (7..39).collect();
    for (what, text, says) in [
        ("a password", "correct-horse-battery-staple-12!".to_owned(), "like a password"),
        ("a password of letters", "abcdefghijklmnopqrstuvwxyzabcdef".to_owned(), "like a password"),
        ("a password in base64", base64(b"correct horse battery staple 12!"), "in disguise"),
        ("too short", base64(&[1, 2, 3]), "has 3 bytes"),
        ("16 bytes of hex", "00112233445566778899aabbccddeeff".to_owned(), "like a password"),
        ("too long", base64(&(0..33).map(|n| n * 7).collect::<Vec<_>>()), "has 33 bytes"),
        ("zeros", "0".repeat(64), "one byte over and over"),
        ("one byte", "a5".repeat(32), "one byte over and over"),
        ("few bytes", "0102030101020303".repeat(4), "fewer than 8"),
        ("counting", base64(&counts), "counts"),
        ("the keys of the keyboard", twice, "repeats itself"),
        ("not base64", "!".repeat(44), "neither base64 nor hex"),
        ("63 of hex", "a1".repeat(32)[1..].to_owned(), "bytes"),
        ("very long", "A".repeat(1000), "neither base64 nor hex"),
        ("a bad one behind a good one", format!("a:{good},b:password"), "key 2"),
        ("no key behind the name", "a:".to_owned(), "is empty"),
        ("a bad name", format!("a b:{good}"), "the id of the key"),
        ("a long name", format!("{}:{good}", "a".repeat(33)), "the id of the key"),
        ("an empty name", format!(":{good}"), "the id of the key"),
        ("one name twice", format!("a:{good},a:{}", Keyring::generate().expose_secret()), "has the id of key 1"),
        ("one key twice", format!("a:{good},b:{good}"), "is key 1 again"),
    ] {
        let words = refused(&text);
        assert!(
            words.starts_with("STREAM_KEY_ENCRYPTION_KEY: ") && words.contains("`agentcast key generate`"),
            "{words}"
        );
        assert!(words.contains(says), "{what}: {words}");
        assert!(!words.contains(good) && !words.contains(text.as_str()), "{what}: {words}");
    }
    for empty in ["", " \n", ",", "# nothing\n"] {
        assert_eq!(Keyring::parse(&SecretString::from(empty)).err(), Some(KeyringError::Missing));
    }
}

#[test]
fn every_generated_key_is_a_good_one() {
    for _ in 0..200 {
        ring(Keyring::generate().expose_secret());
    }
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_and_nowhere_else(
        text in "[!-~]{1,512}",
        agent in "\\PC{0,40}", destination in "\\PC{0,40}", host in "\\PC{0,40}", version in any::<i64>(),
        elsewhere in "\\PC{0,40}",
    ) {
        let ring = Keyring::ephemeral();
        let good = sealed(&ring, &text, &agent, &destination, &host, version);
        prop_assert!(opens_to(&ring, &good, &text));
        let again = SealedKey { blob: ring.rewrap(&good).unwrap(), ..good.clone() };
        prop_assert!(again.blob != good.blob && opens_to(&ring, &again, &text));
        for bad in [
            SealedKey { agent_id: elsewhere.clone(), ..good.clone() },
            SealedKey { destination_id: elsewhere.clone(), ..good.clone() },
            SealedKey { host: elsewhere.clone(), ..good.clone() },
            SealedKey { record_version: version.wrapping_add(1), ..good.clone() },
        ] {
            let same = bad.agent_id == agent && bad.destination_id == destination && bad.host == host
                && bad.record_version == version;
            prop_assert_eq!(ring.open(&bad).is_ok(), same);
        }
        prop_assert!(Keyring::ephemeral().open(&good).is_err());
    }

    #[test]
    fn no_bytes_make_opening_panic(blob in proptest::collection::vec(any::<u8>(), 0..300)) {
        let ring = Keyring::ephemeral();
        let mut record = record(&ring);
        record.blob = blob.clone();
        prop_assert!(ring.open(&record).is_err() && ring.rewrap(&record).is_err());
        record.blob = [&[1, ring.kid().len() as u8], ring.kid().as_bytes(), &blob].concat();
        prop_assert!(ring.open(&record).is_err());
    }
}
