//! Which ingest addresses are taken, and which IP addresses they may lead to (SSRF).

use agentcast::secure::{HostError, HostRules, ingest_host};
use agentcast::store::model::DestinationKind::{self, LivekitRoom, Rtmp, Twitch, Youtube};
use proptest::prelude::*;
use std::net::IpAddr;

fn rules(allowed: &[&str]) -> HostRules {
    HostRules { allowed: allowed.iter().map(|s| (*s).to_owned()).collect(), allow_private: false }
}

fn mine() -> HostRules {
    rules(&[
        "live.example.com",
        ".cdn.example.com",
        "any.example.com:*",
        "one.example.com:1936",
        "192.0.2.7",
        "[2001:db8::7]:1936",
    ])
}

fn taken(kind: DestinationKind, url: &str) -> String {
    mine().ingest(kind, url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn addresses_of_allowed_hosts_are_taken_in_one_spelling() {
    for (kind, url, wanted) in [
        (Twitch, "", "rtmps://ingest.global-contribute.live-video.net/app"),
        (Twitch, "rtmp://sfo.contribute.live-video.net/app", "rtmp://sfo.contribute.live-video.net/app"),
        (Twitch, "rtmps://fra05.contribute.live-video.net:443/app/", "rtmps://fra05.contribute.live-video.net/app"),
        (Twitch, "rtmp://live.twitch.tv/app", "rtmp://live.twitch.tv/app"),
        (Youtube, "", "rtmps://a.rtmps.youtube.com/live2"),
        (Youtube, "RTMPS://A.RTMPS.YouTube.com:443/live2", "rtmps://a.rtmps.youtube.com/live2"),
        (Youtube, "rtmps://b.rtmps.youtube.com:443/live2?backup=1", "rtmps://b.rtmps.youtube.com/live2?backup=1"),
        (Youtube, "rtmp://a.rtmp.youtube.com/live2", "rtmp://a.rtmp.youtube.com/live2"),
        (Rtmp, "rtmps://a.rtmps.youtube.com/live2", "rtmps://a.rtmps.youtube.com/live2"),
        (Rtmp, "rtmp://Live.Example.com:1935/live", "rtmp://live.example.com/live"),
        (Rtmp, "rtmp://a.b.cdn.example.com/app/_definst_", "rtmp://a.b.cdn.example.com/app/_definst_"),
        (Rtmp, "rtmp://any.example.com:22/app", "rtmp://any.example.com:22/app"),
        (Rtmp, "rtmp://any.example.com/app", "rtmp://any.example.com/app"),
        (Rtmp, "rtmps://one.example.com:1936/app", "rtmps://one.example.com:1936/app"),
        (Rtmp, "rtmp://192.0.2.7/app", "rtmp://192.0.2.7/app"),
        (Rtmp, "rtmp://[2001:DB8:0:0::7]:1936/app", "rtmp://[2001:db8::7]:1936/app"),
    ] {
        assert_eq!(taken(kind, url), wanted, "{url}");
        assert_eq!(taken(kind, wanted), wanted, "taken again");
    }
    assert_eq!(ingest_host("rtmps://one.example.com:1936/app/x"), "one.example.com:1936");
    assert_eq!(ingest_host("rtmp://[2001:db8::7]/app"), "[2001:db8::7]");
    for kind in [Twitch, Youtube] {
        assert_eq!(HostRules::default_ingest(kind), rules(&[]).ingest(kind, "").ok().as_deref());
    }
}

/// Each as a caller might give it who wants the service to talk to something else than a streaming platform.
const TRICKS: [&str; 78] = [
    // Hosts that nobody allowed.
    "rtmp://evil.example.net/app",
    "rtmp://localhost/app",
    "rtmp://metadata.google.internal/app",
    "rtmp://example.com/app",
    "rtmp://cdn.example.com/app",
    "rtmp://evil-cdn.example.com/app",
    "rtmp://live.example.com.evil.net/app",
    "rtmp://evil.net.live.example.com/app",
    "rtmp://xlive.example.com/app",
    "rtmp://live.example.co/app",
    "rtmp://youtube.com/live2",
    "rtmp://a.rtmp.youtube.com.evil.net/live2",
    "rtmp://contribute.live-video.net/app",
    "rtmp://channel.global-contribute.live-video.net/app",
    "rtmp://twitch.tv/app",
    // Ports.
    "rtmp://live.example.com:22/app",
    "rtmp://live.example.com:443/app",
    "rtmps://live.example.com:1935/app",
    "rtmp://one.example.com/app",
    "rtmp://live.example.com:0/app",
    "rtmp://live.example.com:65536/app",
    "rtmp://live.example.com:+1935/app",
    "rtmp://live.example.com:01935/app",
    "rtmp://live.example.com:/app",
    "rtmp://live.example.com:1935:1935/app",
    "rtmp://a.rtmp.youtube.com:80/live2",
    // Other schemes.
    "http://live.example.com/app",
    "https://live.example.com/app",
    "rtmpt://live.example.com/app",
    "rtmpe://live.example.com/app",
    "srt://live.example.com/app",
    "file:///etc/passwd",
    "tcp://live.example.com/app",
    "//live.example.com/app",
    "live.example.com/app",
    "rtmp:/live.example.com/app",
    "rtmp:live.example.com/app",
    " rtmp://live.example.com/app",
    // Two readers, two hosts.
    "rtmp://live.example.com@evil.net/app",
    "rtmp://evil.net@live.example.com/app",
    "rtmp://live.example.com:1935@evil.net/app",
    "rtmp://live.example.com#@evil.net/app",
    "rtmp://live.example.com?@evil.net/app",
    "rtmp://live.example.com\\@evil.net/app",
    "rtmp://live.example.com\\.evil.net/app",
    "rtmp://evil.net%2f@live.example.com/app",
    "rtmp://live.example.com%00.evil.net/app",
    "rtmp://live.example.com%2eevil.net/app",
    "rtmp://live.example.com\0.evil.net/app",
    "rtmp://live.example.com\r\nHost:evil.net/app",
    "rtmp://live.example.com\t/app",
    "rtmp://live.example.com /app",
    "rtmp://live.example.com,evil.net/app",
    "rtmp://live.example.com;evil.net/app",
    "rtmp://live.example.com./app",
    "rtmp://live..example.com/app",
    "rtmp://.live.example.com/app",
    "rtmp://-live.cdn.example.com/app",
    "rtmp:///app",
    "rtmp://:1935/app",
    // Look-alikes: full-width letters, an ideographic full stop, a soft hyphen, a Cyrillic e, circled digits.
    "rtmp://ｌｉｖｅ.example.com/app",
    "rtmp://live。example。com/app",
    "rtmp://li\u{ad}ve.example.com/app",
    "rtmp://livе.example.com/app",
    "rtmp://①②⑦.⓪.⓪.①/app",
    "rtmp://xn--live-.cdn.example.com/app",
    // Addresses in other clothes.
    "rtmp://127.0.0.1/app",
    "rtmp://3221225991/app",
    "rtmp://0xc0000207/app",
    "rtmp://0300.0.2.7/app",
    "rtmp://0xc0.0.2.7/app",
    "rtmp://192.0.519/app",
    "rtmp://192.0.2.7.0/app",
    "rtmp://1.2.3.cdn.example.com.127/app",
    "rtmp://[::ffff:192.0.2.7]/app",
    "rtmp://[2001:db8::7%25eth0]:1936/app",
    "rtmp://[2001:db8::7]/app",
    "rtmp://[live.example.com]/app",
];

#[test]
fn tricks_with_addresses_are_refused_for_every_kind() {
    for url in TRICKS {
        for kind in [Rtmp, Twitch, Youtube] {
            match mine().ingest(kind, url) {
                Err(HostError::Address(words)) => assert!(!words.is_empty(), "{url:?}"),
                Err(HostError::NotAllowed(host)) => assert!(kind == Rtmp && !host.is_empty(), "{url:?}"),
                other => panic!("{url:?} as {kind}: {other:?}"),
            }
        }
    }
}

#[test]
fn paths_that_are_no_application_are_refused() {
    for (path, says) in [
        ("", "application"),
        ("/", "application"),
        ("//app", "single slashes"),
        ("/app//x", "single slashes"),
        ("/../app", "single slashes"),
        ("/app/..", "single slashes"),
        ("/./app", "single slashes"),
        ("/app%2f..", "characters"),
        ("/app;x=1", "characters"),
        ("/app?x=1", "query"),
        ("/app?backup=1", "query"),
        ("/app#x", "fragment"),
    ] {
        let words = mine().ingest(Rtmp, &format!("rtmp://live.example.com{path}")).unwrap_err().to_string();
        assert!(words.starts_with("ingest: ") && words.contains(says), "{path}: {words}");
    }
    let long = format!("rtmp://live.example.com/{}", "a".repeat(129));
    assert!(mine().ingest(Rtmp, &long).unwrap_err().to_string().contains("at most 128"));
    assert!(mine().ingest(Rtmp, &format!("{long}{long}{long}{long}")).unwrap_err().to_string().contains("512 bytes"));
}

#[test]
fn a_platform_is_its_own_hosts_with_its_own_application_and_no_key_in_it() {
    let words = |kind, url: &str| mine().ingest(kind, url).unwrap_err().to_string();
    for url in ["rtmp://live.example.com/app", "rtmps://a.rtmps.youtube.com/live2"] {
        assert!(words(Twitch, url).contains("not an ingest server of Twitch"), "{url}");
    }
    assert!(words(Youtube, "rtmp://live.twitch.tv/app").contains("not an ingest server of YouTube"));
    for kind in [Twitch, Rtmp] {
        let said = words(kind, "rtmps://sfo.contribute.live-video.net/app/live_123_canary");
        assert!(said.contains("the stream key is set apart") && !said.contains("canary"), "{said}");
    }
    assert!(words(Rtmp, "").contains("needs one"));
    assert!(words(LivekitRoom, "rtmp://live.example.com/app").contains("LiveKit room"));
    assert!(rules(&[]).ingest(Rtmp, "rtmp://live.example.com/app").unwrap_err().to_string().contains("allowed_hosts"));
}

#[test]
fn rules_that_cannot_be_read_are_named_and_let_nothing_through() {
    for bad in [
        "",
        ".",
        "*",
        "*:*",
        "a b",
        "http://x",
        "x/y",
        "live.example.com.",
        "x:0",
        "x:99999",
        "127.1",
        ".127.0.0.1",
        "ｌive",
    ] {
        let rules = rules(&["live.example.com", bad]);
        assert!(rules.check().unwrap_err().contains("is no host"), "{bad:?}");
        assert!(rules.ingest(Rtmp, "rtmp://live.example.com/app").is_ok());
        assert!(rules.ingest(Rtmp, "rtmp://127.0.0.1/app").is_err());
    }
    assert_eq!(mine().check(), Ok(()));
    let star = rules(&["*.example.org"]);
    assert!(star.check().is_ok() && star.ingest(Rtmp, "rtmp://a.example.org/app").is_ok());
    assert!(star.ingest(Rtmp, "rtmp://example.org/app").is_err());
}

fn leads_to(rules: &HostRules, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap_or_else(|_| panic!("{address}"));
    match rules.address("live.example.com", address) {
        Ok(()) => true,
        Err(error) => {
            let words = format!("ingest: live.example.com leads to {address}, which is not a public address");
            assert_eq!(error.to_string(), words);
            false
        }
    }
}

#[test]
fn only_public_addresses_may_be_connected_to_and_ones_own_by_setting() {
    let (strict, open) = (mine(), HostRules { allow_private: true, ..mine() });
    let public = [
        "1.1.1.1",
        "52.223.192.1",
        "99.181.64.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "100.63.255.255",
        "100.128.0.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2a00:1450:4009::1",
        "2606:4700::1",
        // An IPv4 server as a network with only IPv6 sees it.
        "64:ff9b::1.1.1.1",
    ];
    let own = [
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        // IPv4 in IPv6: mapped, compatible, translated, NAT64 of a private address, 6to4, Teredo.
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:1.1.1.1",
        "::127.0.0.1",
        "::7f00:1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1.1.1.1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:101:101::",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ];
    let never = [
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "198.19.255.255",
        "192.0.0.192",
        "192.88.99.1",
        "::",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "3fff::1",
        "2001:2::1",
        "2001:20::1",
        "100::1",
        "4000::1",
        "5f00::1",
        // Metadata services, and in other clothes.
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::",
        "::169.254.169.254",
        "::ffff:0.0.0.0",
    ];
    for address in public {
        assert!(leads_to(&strict, address) && leads_to(&open, address), "{address}");
    }
    for address in own {
        assert!(!leads_to(&strict, address) && leads_to(&open, address), "{address}");
    }
    for address in never {
        assert!(!leads_to(&strict, address) && !leads_to(&open, address), "{address}");
    }
    assert!(
        strict.judge("h")("10.0.0.1".parse().unwrap()).is_err()
            && strict.judge("h")("1.1.1.1".parse().unwrap()).is_ok()
    );
}

proptest! {
    #[test]
    fn what_is_taken_names_an_allowed_host_and_reads_the_same_again(
        url in r"(rtmps?|RTMP)://([a-z.@:\[\]#?\\%0-9/-]{0,12})(live\.example\.com|192\.0\.2\.7)([a-z.@:\[\]#?\\%0-9/ -]{0,12})/app",
    ) {
        if let Ok(address) = mine().ingest(Rtmp, &url) {
            prop_assert!(["live.example.com", "192.0.2.7"].contains(&ingest_host(&address)), "{} from {}", address, url);
            prop_assert_eq!(mine().ingest(Rtmp, &address).unwrap(), address);
        }
    }

    #[test]
    fn no_text_makes_reading_panic(url in "\\PC{0,60}", tail in "\\PC{0,60}") {
        let _ = mine().ingest(Rtmp, &url);
        let _ = mine().ingest(Youtube, &format!("rtmp://{url}{tail}"));
        let _ = rules(&[&url]).ingest(Rtmp, &format!("rtmp://{tail}/app"));
    }
}
